"""Inception-v1 I3D (Carreira and Zisserman, CVPR 2017) on RGB, on optical flow, and on both.

Among the paper's comparisons (Tables III, V). Convolutions and poolings pad as TensorFlow's "SAME" does.
Parameter names are those of https://github.com/piergiaj/pytorch-i3d; the names of
https://github.com/hassony2/kinetics_i3d_pytorch are translated.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d, pad

from dtcm.models.flow import MIN_SIZE, Flow, TwoStream
from dtcm.models.layers import INCEPTION, Normalize, check_clip, kaiming, pool_pairs

MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Input channels of each Inception block, and output channels of its six convolutions."""


def i3d_rgb(num_classes: int, frames: int, size: int) -> nn.Module:
    """I3D on RGB, 12.3 M parameters. Takes clips of any T and size."""
    return I3D(num_classes, 3, Normalize(*INCEPTION))


def i3d_flow(num_classes: int, frames: int, size: int) -> nn.Module:
    """I3D on optical flow, 12.3 M parameters. Takes clips of at least 2 frames and 16 pixels."""
    check_clip("I3D on flow", frames, size, min_frames=2, min_size=MIN_SIZE)
    return I3D(num_classes, 2, Flow())


def i3d_two_stream(num_classes: int, frames: int, size: int) -> nn.Module:
    """I3D on RGB and I3D on flow, 24.6 M parameters; their logits are averaged."""
    return TwoStream(i3d_rgb(num_classes, frames, size), i3d_flow(num_classes, frames, size))


class I3D(nn.Module):
    """Stem, nine Inception blocks, pooling, a pointwise convolution to the classes, the mean over time.

    T is divided by 8 and H, W by 32, rounding up. Pooling covers all of space and windows of two in time.
    """

    public_names: ClassVar[dict[str, str]] = {
        r"^conv3d_0c_1x1\.": "logits.",
        r"^conv3d_": "Conv3d_",
        r"^mixed_": "Mixed_",
        r"\.branch_0\.": ".b0.",
        r"\.branch_([12])\.0\.": r".b\1a.",
        r"\.branch_([123])\.1\.": r".b\1b.",
        r"\.batch3d\.": ".bn.",
    }

    def __init__(self, num_classes: int, channels: int, normalize: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        mixed = {name: Inception(in_channels, widths) for name, (in_channels, widths) in MIXED.items()}
        layers = {
            "Conv3d_1a_7x7": Unit(channels, 64, kernel=7, stride=2),
            "MaxPool3d_2a_3x3": SameMaxPool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit(64, 64, kernel=1),
            "Conv3d_2c_3x3": Unit(64, 192, kernel=3),
            "MaxPool3d_3a_3x3": SameMaxPool((1, 3, 3), (1, 2, 2)),
            **{name: block for name, block in mixed.items() if name < "Mixed_4"},
            "MaxPool3d_4a_3x3": SameMaxPool((3, 3, 3), (2, 2, 2)),
            **{name: block for name, block in mixed.items() if "Mixed_4" < name < "Mixed_5"},
            "MaxPool3d_5a_2x2": SameMaxPool((2, 2, 2), (2, 2, 2)),
            **{name: block for name, block in mixed.items() if name > "Mixed_5"},
        }
        self.order = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.dropout = nn.Dropout(0.5)
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(1024, num_classes, kernel_size=1)})
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of clips in [0, 1]."""
        x = self.normalize(clip_BCTHW)
        for name in self.order:
            x = self.get_submodule(name)(x)
        return self.logits["conv3d"](self.dropout(pool_pairs(x))).mean(dim=(2, 3, 4))


class Inception(nn.Module):
    """Four branches side by side: 1x1x1; 1x1x1 and 3x3x3, twice; max-pooling and 1x1x1."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit(channels, widths[0], kernel=1)
        self.b1a = Unit(channels, widths[1], kernel=1)
        self.b1b = Unit(widths[1], widths[2], kernel=3)
        self.b2a = Unit(channels, widths[3], kernel=1)
        self.b2b = Unit(widths[3], widths[4], kernel=3)
        self.b3a = SameMaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(channels, widths[5], kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, sum of the four branches' channels, T, H, W]."""
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))]
        return torch.cat(branches, dim=1)


class Unit(nn.Module):
    """A cubic convolution with "SAME" padding, batch normalisation, ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        return torch.relu(self.bn(self.conv3d(pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))))


class SameMaxPool(nn.Module):
    """Max-pooling with "SAME" padding by zeros, which never win: what comes in has passed a ReLU."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T/stride, H/stride, W/stride], rounded up."""
        return max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around x [..., T, H, W] so that ceil(side / stride) windows fit; an odd one goes behind."""
    padding: list[int] = []
    for side, window, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max((-(-side // step) - 1) * step + window - side, 0)
        padding = [missing // 2, missing - missing // 2, *padding]  # torch's order begins with the last side
    return pad(x, padding)
