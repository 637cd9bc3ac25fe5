"""Two ways to smooth frames: a Gaussian, and one that stops at edges, solved exactly.

Frames are [N, H, W]; each is smoothed by itself, so the others in its batch make no difference to it.
"""

from typing import Literal

import torch
from torch import Tensor

CHUNK = 2**25
"""Numbers in float64, 256 MiB, that `smooth` keeps at a time."""


def gaussian(x: Tensor, sigma: float, border: Literal["reflect", "nearest"] = "reflect") -> Tensor:
    """Gaussian blur of the last two dimensions, cut off at 4 σ, as scipy.ndimage.gaussian_filter.

    A matrix product for each direction: its cost does not grow with σ, which may exceed the frame.
    """
    down, right = (_blur_matrix(size, sigma, border).to(x) for size in x.shape[-2:])
    return down @ x @ right.mT


def _blur_matrix(size: int, sigma: float, border: str) -> Tensor:
    """[size, size]: row i holds the weights of all pixels in the blurred pixel i."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    source = torch.arange(size)[:, None] + offsets
    if border == "reflect":  # d c b a | a b c d | d c b a, again and again
        source = source.remainder(2 * size)
        source = torch.minimum(source, 2 * size - 1 - source)
    else:
        source = source.clamp(0, size - 1)
    return torch.zeros(size, size, dtype=weights.dtype).scatter_add(
        1, source, (weights / weights.sum()).expand(size, -1)
    )


def differences(x_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences downwards and to the right, 0 where there is no next pixel; both [N, H, W]."""
    down = x_NHW.diff(dim=1, append=x_NHW[:, -1:])
    right = x_NHW.diff(dim=2, append=x_NHW[:, :, -1:])
    return down, right


def smooth(x_NHW: Tensor, down_NHW: Tensor, right_NHW: Tensor) -> Tensor:
    """argmin over t of Σ (t - x)² + Σ down (t below - t)² + Σ right (t beside - t)².

    The weights stand at the pixel from which a difference starts; those of the last row and column are not
    used. The minimum is that of a linear system with one unknown for each pixel. It is solved directly, row
    by row, in float64, because weights that differ by 10⁵ between edges and flat regions leave iterative
    solvers thousands of steps.
    """
    if x_NHW.shape[2] > x_NHW.shape[1]:  # the work grows with the cube of a row's length
        return smooth(x_NHW.mT, right_NHW.mT, down_NHW.mT).mT
    _, height, width = x_NHW.shape
    chunk = max(1, CHUNK // (height * width * width))
    parts = zip(*(part.split(chunk) for part in (x_NHW, down_NHW, right_NHW)), strict=True)
    return torch.cat([_solve(*(part.double() for part in group)) for group in parts]).to(x_NHW)


def _solve(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Block elimination of the system, whose blocks are the rows of the frame: each is tied to the next alone.

    The matrix is I + Dᵀ diag(weights) D: within a row tridiagonal, between two rows -diag(down).
    """
    down = torch.cat([down[:, :-1], torch.zeros_like(down[:, :1])], dim=1)
    right = torch.cat([right[:, :, :-1], torch.zeros_like(right[:, :, :1])], dim=2)
    diagonal = 1 + down + down.roll(1, dims=1) + right + right.roll(1, dims=2)
    inverses, sides = [], []
    for row in range(x.shape[1]):
        beside = torch.diag_embed(right[:, row, :-1], offset=1)
        block = torch.diag_embed(diagonal[:, row]) - beside - beside.mT
        side = x[:, row, :, None]
        if row:
            tie = down[:, row - 1, :, None]
            block = block - tie * inverses[-1] * tie.mT
            side = side + tie * (inverses[-1] @ sides[-1])
        inverses.append(torch.cholesky_inverse(torch.linalg.cholesky_ex(block).L))
        sides.append(side)
    solved = [inverses[-1] @ sides[-1]]
    for row in range(len(inverses) - 2, -1, -1):
        solved.append(inverses[row] @ (sides[row] + down[:, row, :, None] * solved[-1]))
    return torch.cat(solved[::-1], dim=2).mT
