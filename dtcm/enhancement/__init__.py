"""Methods that brighten a clip before it is classified, as the paper compares them (Sec. II-B, Table XI).

Classical ones are functions of a clip: gic (gamma.py), he (histogram.py), msr (retinex.py), lime
(illumination.py) and bimef (fusion.py). Learned ones are networks of public structure: kind.py, stable_llve.py,
sci.py, llnet.py, zero_dce.py. None is trained here. dtcm.models.frozen makes any of them the enhancer of the
joint model, compare.py measures them.
"""

from collections.abc import Callable

from torch import nn

from dtcm.enhancement.frames import Classical
from dtcm.enhancement.fusion import bimef
from dtcm.enhancement.gamma import gic
from dtcm.enhancement.histogram import he
from dtcm.enhancement.illumination import lime
from dtcm.enhancement.kind import KinD
from dtcm.enhancement.llnet import LLNet
from dtcm.enhancement.retinex import msr
from dtcm.enhancement.sci import SCI
from dtcm.enhancement.stable_llve import StableLLVE
from dtcm.first_calls import settle

settle()  # here, since dtcm.models imports this package


def _zero_dce() -> nn.Module:
    # dtcm.models names the methods of this package, so it can be imported only after them.
    from dtcm.enhancement.zero_dce import FrozenZeroDCE

    return FrozenZeroDCE()


def _learned(network: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: network().requires_grad_(False).eval()


def _classical(enhance: Callable) -> Callable[[], nn.Module]:
    return lambda: Classical(enhance)


LEARNED: dict[str, Callable[[], nn.Module]] = {
    "kind": _learned(KinD),
    "stable-llve": _learned(StableLLVE),
    "sci": _learned(SCI),
    "llnet": _learned(LLNet),
    "zero-dce": _learned(_zero_dce),
}
"""The methods that are of no use without weights."""

METHODS: dict[str, Callable[[], nn.Module]] = {
    "none": _classical(lambda clip_BCTHW: clip_BCTHW),
    "gic": _classical(gic),
    "he": _classical(he),
    "msr": _classical(msr),
    "lime": _classical(lime),
    "bimef": _classical(bimef),
    **LEARNED,
}
"""Name -> a new module from clip [B, 3, T, H, W] in [0, 1] to clip, without gradient; "none" returns the clip."""

__all__ = ["LEARNED", "METHODS", "SCI", "KinD", "LLNet", "StableLLVE", "bimef", "gic", "he", "lime", "msr"]
