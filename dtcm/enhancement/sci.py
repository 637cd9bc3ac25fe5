"""SCI, self-calibrated illumination (Ma et al., CVPR 2022, https://github.com/vis-opt-group/SCI).

Three 3x3 convolutions estimate a frame's illumination, by which it is divided. Names are those of the public
checkpoints easy.pt, medium.pt and difficult.pt. The files hold two more things: the network "calibrate",
used in their training alone, and "enhance.conv", a second name of "enhance.blocks.0"; neither is read.
"""

from torch import Tensor, nn

from dtcm.enhancement.frames import Learned


class SCI(Learned):
    """258 parameters; trained on RGB frames."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(_conv3x3(), nn.BatchNorm2d(3), nn.ReLU())
        self.enhance = nn.ModuleDict(
            {
                "in_conv": nn.Sequential(_conv3x3(), nn.ReLU()),
                "blocks": nn.ModuleList([block]),
                "out_conv": nn.Sequential(_conv3x3(), nn.Sigmoid()),
            }
        )

    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """Frames over their illumination, [N, 3, H, W] in [0, 1]."""
        return (frames_NCHW / self.illumination(frames_NCHW)).clamp(0, 1)

    def illumination(self, frames_NCHW: Tensor) -> Tensor:
        """For each colour of each pixel, at least the frame's own value; [N, 3, H, W] in [0.0001, 1]."""
        x = self.enhance["in_conv"](frames_NCHW)
        x = x + self.enhance.get_submodule("blocks.0")(x)
        return (self.enhance["out_conv"](x) + frames_NCHW).clamp(1e-4, 1)


def _conv3x3() -> nn.Conv2d:
    return nn.Conv2d(3, 3, kernel_size=3, padding=1)
