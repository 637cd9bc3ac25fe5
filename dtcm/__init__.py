"""DTCM: joint enhancement and action recognition for dark video (Tu et al., IEEE TIP 2023).

This package is the library: torch, numpy, pyarrow and a decoder. What is distributed lives in
`components`, what is run in `pipelines`.
"""

__version__ = "0.1.0"
