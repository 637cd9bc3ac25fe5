"""Entry points: each parses its flags, calls components and prints where the results are."""
