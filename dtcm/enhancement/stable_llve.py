"""StableLLVE (Zhang et al., CVPR 2021, https://github.com/zkawfanx/StableLLVE).

Optical flow is predicted only to train: a frame and its warped copy must be brightened alike. What brightens a
video is a U-Net that sees one frame at a time. Its structure and names are those of the public code and
checkpoint.pth; that code reads frames by OpenCV, so the network sees blue first.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dtcm.enhancement.frames import Learned


class StableLLVE(Learned):
    """U-Net of 32 to 256 channels, 4,316,259 parameters; frames of 16 px and more."""

    def __init__(self) -> None:
        super().__init__()
        self.inc = DoubleConv(3, 32, 32)
        self.down1 = Down(32, 64)
        self.down2 = Down(64, 128)
        self.down3 = Down(128, 256)
        self.down4 = Down(256, 256)
        self.up1 = Up(512, 128)
        self.up2 = Up(256, 64)
        self.up3 = Up(128, 32)
        self.up4 = Up(64, 32)
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(32, 3, kernel_size=1)})

    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """RGB frames of the same shape, cut off at [0, 1]."""
        x1 = self.inc(frames_NCHW.flip(1))
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up4(self.up3(self.up2(x, x3), x2), x1)
        return self.outc["conv"](x).flip(1).clamp(0, 1)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with ReLU."""

    def __init__(self, channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels, mid_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, out_channels, H, W]."""
        return self.double_conv(x_NCHW)


class Down(nn.Module):
    """Half the resolution, then two convolutions."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(channels, out_channels, out_channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, out_channels, H // 2, W // 2]."""
        return self.maxpool_conv(x_NCHW)


class Up(nn.Module):
    """Twice the resolution, joined with the features of that resolution, then two convolutions."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = DoubleConv(channels, channels // 2, out_channels)

    def forward(self, x_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
        """[N, out_channels, H, W] of the skip's H and W, which odd sizes make one larger than twice x's."""
        x_NCHW = self.up(x_NCHW)
        rows, columns = (s - x for s, x in zip(skip_NCHW.shape[2:], x_NCHW.shape[2:], strict=True))
        x_NCHW = pad(x_NCHW, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(torch.cat([skip_NCHW, x_NCHW], dim=1))
