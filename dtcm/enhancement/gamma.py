"""GIC, gamma intensity correction (Poynton, Digital Video and HD, 2012).

The paper cites Poynton and names no γ. The script released with ARID (https://github.com/xuyu0010/ARID_v1,
gamma_intensity_correction.py), with which GIC was first measured on that data set, takes x^(1/γ) with γ = 10;
it rounds down to 8 bits, which is not done here.
"""

from torch import Tensor

GAMMA = 10.0
"""γ of ARID's script; displays have 2.2."""


def gic(clip_BCTHW: Tensor, gamma: float = GAMMA) -> Tensor:
    """x^(1/γ) of every value of a clip in [0, 1]; γ above 1 brightens."""
    return clip_BCTHW.pow(1 / gamma)
