"""MSR, the multi-scale retinex (Rahman, Jobson and Woodell, ICIP 1996).

Each colour is compared with its surround at three scales: mean over σ of log x - log (G_σ * x). Scales 15,
80 and 250 px with equal weights are Jobson's and Rahman's; what the source leaves to a gain and an offset
"by trial" is decided as in Petro, Sbert and Morel (Multiscale Retinex, IPOL 2014): σ is the standard
deviation, 1 is added to 8-bit values before the logarithm, and each colour is stretched to [0, 1] with 1 %
of its pixels cut off at either end. Beyond the border the frame is mirrored.
"""

import torch
from torch import Tensor

from dtcm.enhancement.frames import per_frame
from dtcm.enhancement.smoothing import gaussian

SIGMAS = (15.0, 80.0, 250.0)
CUT = 0.01
FLAT = 1e-3
"""Logarithmic contrast below which a colour has nothing to stretch: a quarter of an 8-bit level at white."""


def msr(clip_BCTHW: Tensor, sigmas: tuple[float, ...] = SIGMAS) -> Tensor:
    """Each colour of each frame relative to its surround, stretched to [0, 1]; a flat colour stays as it is."""
    return per_frame(lambda frames: _stretch(multi_scale_retinex(frames, sigmas), frames), clip_BCTHW)


def multi_scale_retinex(frames_NCHW: Tensor, sigmas: tuple[float, ...] = SIGMAS) -> Tensor:
    """Mean over the scales of log(x + 1) - log(G_σ * (x + 1)), x in [0, 255]; unbounded, around 0."""
    x = 255 * frames_NCHW + 1
    surround = torch.stack([gaussian(x, sigma).log() for sigma in sigmas]).mean(dim=0)
    return x.log() - surround


def _stretch(retinex_NCHW: Tensor, frames_NCHW: Tensor) -> Tensor:
    """From the 1 % darkest to the 1 % brightest of each colour, what is beyond cut off."""
    ordered = retinex_NCHW.flatten(2).sort(dim=2).values
    cut = int(CUT * ordered.shape[2])
    low, high = (ordered[:, :, at, None, None] for at in (cut, ordered.shape[2] - 1 - cut))
    contrast = high - low
    stretched = ((retinex_NCHW - low) / contrast.clamp(min=FLAT)).clamp(0, 1)
    return torch.where(contrast < FLAT, frames_NCHW, stretched)
