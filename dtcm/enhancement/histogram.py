"""HE, histogram equalisation, as OpenCV's equalizeHist on the luma of each frame.

The paper cites an equalisation in three dimensions (Trahanias and Venetsanopoulos, ICPR 1992). The script
released with ARID (https://github.com/xuyu0010/ARID_v1, histogram_equalization.py), followed here,
equalises Y of YCrCb (BT.601, 8 bits) and keeps Cr and Cb. Keeping them means adding the change of Y to red,
green and blue.
"""

import torch
from torch import Tensor

from dtcm.enhancement.frames import per_frame

LEVELS = 256
LUMA = (4899, 9617, 1868)
"""0.299, 0.587 and 0.114 in 14 bits, OpenCV's."""


def he(clip_BCTHW: Tensor) -> Tensor:
    """Spread the luma of each frame evenly over [0, 255], colour differences unchanged; a flat frame stays."""
    return per_frame(_equalise, clip_BCTHW)


def _equalise(frames_NCHW: Tensor) -> Tensor:
    rgb_NCHW = (255 * frames_NCHW).round()
    luma_NHW = _luma(rgb_NCHW)
    equalised_NHW = _table(luma_NHW).gather(1, luma_NHW.flatten(1)).view_as(luma_NHW)
    return ((rgb_NCHW + (equalised_NHW - luma_NHW)[:, None]) / 255).clamp(0, 1)


def _luma(rgb_NCHW: Tensor) -> Tensor:
    """Y in [0, 255], int64 [N, H, W]; every partial sum is exact in float32."""
    weights = torch.tensor(LUMA, dtype=rgb_NCHW.dtype, device=rgb_NCHW.device).view(3, 1, 1)
    return ((rgb_NCHW * weights).sum(dim=1) / 2**14 + 0.5).long()


def _table(luma_NHW: Tensor) -> Tensor:
    """What becomes of each of the 256 levels in each frame, float32 [N, 256], rounded."""
    luma_NP = luma_NHW.flatten(1)
    counts = luma_NP.new_zeros(len(luma_NP), LEVELS, dtype=torch.float32)
    counts = counts.scatter_add(1, luma_NP, torch.ones_like(luma_NP, dtype=torch.float32))
    darkest = counts.gather(1, luma_NP.amin(dim=1, keepdim=True))
    scale = 255 / (luma_NP.shape[1] - darkest)
    table = ((counts.cumsum(dim=1) - darkest) * scale).round()
    flat = darkest == luma_NP.shape[1]
    return torch.where(flat, torch.arange(LEVELS, device=table.device, dtype=table.dtype), table)
