"""Tests, each beside what it tests; `support` is what several of them use."""
