"""Elementwise functions of torch that are exact from their first call on.

On x86 CPUs torch leaves them to MKL, which settles at a function's first call which of its kernels fits the processor.
Where several threads make that call together, one of them can get a kernel of low accuracy for its share of the tensor:
of 2,800 new processes with two threads 1 in 80 had half of an exp off by up to 4e-4, and no later call (torch 2.13;
oneMKL before 2025.0, pytorch/pytorch issue 188792). A model would not be the same in every run, so one thread calls
each function first.
"""

import torch

FUNCTIONS = (
    *("acos", "asin", "atan", "cos", "cosh", "erf", "erfc", "erfinv", "exp", "expm1", "log", "log10", "log1p", "log2"),
    *("sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)
"""Those that torch may leave to MKL."""


def settle() -> None:
    """Call each function once, in this thread alone. The package does it when its models are imported."""
    for dtype in (torch.float32, torch.float64):
        half = torch.full((1,), 0.5, dtype=dtype)
        for name in FUNCTIONS:
            getattr(torch, name)(half)
