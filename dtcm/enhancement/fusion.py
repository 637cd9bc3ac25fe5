"""BIMEF, bio-inspired multi-exposure fusion (Ying, Li and Gao, arXiv 1711.00591).

A second, longer exposure of each frame is made by a camera response model, J = β I^γ with γ = k^a and
β = exp(b (1 - k^a)), a = -0.3293, b = 1.1258. Its ratio k in [1, 7] gives the badly lit pixels (illumination
t below 0.5) the most entropy. The result is I t^μ + (J - 0.01) (1 - t^μ), μ = 0.5. t is the brightest
colour, smoothed at half size with weights 0.5 / (|Σ ∇t| |∇t| + 0.001), the sum over 5 px along ∇.

All constants are those of the authors' code (https://github.com/baidut/BIMEF). Decided otherwise: the linear
system is solved exactly (there to a residual of 10 %) and does not tie opposite borders; k is the best of a
grid of 0.1 (there the golden section, which may stop at a lesser maximum because entropy has steps); the badly
lit pixels are told from t at the 50 x 50 px at which entropy is measured; the result is cut off at [0, 1].
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from dtcm.enhancement.frames import per_frame
from dtcm.enhancement.smoothing import differences, smooth

A, B = -0.3293, 1.1258
MU = 0.5
RATIOS = torch.linspace(1, 7, 61)
SIDE_PX = 50
"""Side of the frame on which entropy is measured."""


def bimef(clip_BCTHW: Tensor) -> Tensor:
    """Each frame fused with its longer exposure, which weighs more where the frame is dark."""
    return per_frame(_fuse, clip_BCTHW)


def exposed(x: Tensor, k: Tensor) -> Tensor:
    """What the camera would have seen of x with k times the exposure; broadcasts, may exceed 1."""
    gamma = k.pow(A)
    return x.pow(gamma) * torch.exp(B * (1 - gamma))


def entropy(x: Tensor, mask: Tensor) -> Tensor:
    """Entropy in bits of the 8-bit histogram of the last dimension, over the pixels in the mask."""
    levels = (255 * x.clamp(0, 1)).round().long()
    counts = x.new_zeros(*x.shape[:-1], 256).scatter_add(-1, levels, mask.to(x).expand_as(x).contiguous())
    share = counts / counts.sum(dim=-1, keepdim=True).clamp(min=1)
    return -torch.xlogy(share, share).sum(dim=-1) / torch.log(share.new_tensor(2))


def best_ratio(frames_NCHW: Tensor, illumination_NHW: Tensor) -> Tensor:
    """k of each frame, [N]; 1, which changes nothing, where no pixel is badly lit."""
    small_NCHW = _resize(frames_NCHW, (SIDE_PX, SIDE_PX)).clamp(0, 1)
    means_NP = small_NCHW.prod(dim=1).pow(1 / 3).flatten(1)
    bad_NP = _resize(illumination_NHW[:, None], (SIDE_PX, SIDE_PX)).flatten(1) < 0.5
    ratios_K = RATIOS.to(frames_NCHW)
    entropies_NK = torch.stack([entropy(exposed(means_NP, k), bad_NP) for k in ratios_K], dim=1)
    return torch.where(bad_NP.any(dim=1), ratios_K[entropies_NK.argmax(dim=1)], 1.0)


def illumination(frames_NCHW: Tensor) -> Tensor:
    """t of each frame, [N, H, W] in [0, 1]."""
    _, _, height, width = frames_NCHW.shape
    half_NHW = _resize(frames_NCHW.amax(dim=1, keepdim=True), (-(-height // 2), -(-width // 2)))[:, 0]
    down, right = differences(half_NHW)
    weights = (0.5 / (_sum(down, (5, 1)) * down.abs() + 1e-3), 0.5 / (_sum(right, (1, 5)) * right.abs() + 1e-3))
    return _resize(smooth(half_NHW, *weights)[:, None], (height, width))[:, 0].clamp(0, 1)


def _fuse(frames_NCHW: Tensor) -> Tensor:
    t_NHW = illumination(frames_NCHW)
    k_N111 = best_ratio(frames_NCHW, t_NHW)[:, None, None, None]
    longer = exposed(frames_NCHW, k_N111) - torch.where(k_N111 > 1, 0.01, 0.0)
    weight = t_NHW.pow(MU)[:, None]
    return (frames_NCHW * weight + longer * (1 - weight)).clamp(0, 1)


def _sum(x_NHW: Tensor, window: tuple[int, int]) -> Tensor:
    """|Σ x| over a window around each pixel, 0 beyond the border."""
    padding = (window[0] // 2, window[1] // 2)
    return avg_pool2d(x_NHW, window, stride=1, padding=padding, divisor_override=1).abs()


def _resize(frames_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """MATLAB's imresize: bicubic, antialiased where it shrinks."""
    return interpolate(frames_NCHW, size=size, mode="bicubic", antialias=True)
