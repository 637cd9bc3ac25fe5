"""Zero-DCE as a method: the network of dtcm.models with its public weights, one curve for each frame."""

from torch import Tensor

from dtcm.enhancement.frames import Learned
from dtcm.models.curve import apply_curves
from dtcm.models.enhancers import ZeroDCE


class FrozenZeroDCE(Learned):
    """79,416 parameters, those of `network`."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ZeroDCE()

    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """Frames of the same shape, in [0, 1]."""
        curves_NCHW = self.network.curves(frames_NCHW)
        return apply_curves(frames_NCHW[:, :, None], curves_NCHW[:, None], k=1)[:, :, 0]
