"""3D-ResNet and 3D-ResNeXt (Hara et al., CVPR 2018, https://github.com/kenshohara/3D-ResNets-PyTorch).

3D-ResNeXt-101 is the paper's classifier (Table I); the ResNets are among its comparisons (Tables III-V).
Shortcut B (a 1x1x1 convolution where the shape changes), parameter names of the 2018 Kinetics checkpoints.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from dtcm.models.layers import GlobalAvgPool3d, kaiming, to_255_less_mean
from dtcm.models.stem import Stem


def r3d_18(num_classes: int, frames: int, size: int) -> nn.Module:
    """3D-ResNet-18, 33.2 M parameters. Takes clips of any T and size."""
    return ResNet3D(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), num_classes)


def r3d_50(num_classes: int, frames: int, size: int) -> nn.Module:
    """3D-ResNet-50, 46.2 M parameters. Takes clips of any T and size."""
    return ResNet3D(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), num_classes)


def r3d_101(num_classes: int, frames: int, size: int) -> nn.Module:
    """3D-ResNet-101, 85.3 M parameters. Takes clips of any T and size."""
    return ResNet3D(Bottleneck, (3, 4, 23, 3), (64, 128, 256, 512), num_classes)


def resnext3d_101(num_classes: int, frames: int, size: int) -> nn.Module:
    """3D-ResNeXt-101 of cardinality 32, 47.5 M parameters (Table I). Takes clips of any T and size."""
    return ResNet3D(ResNeXtBottleneck, (3, 4, 23, 3), (128, 256, 512, 1024), num_classes, GlobalAvgPool3d())


class ResNet3D(nn.Module):
    """Stem, four stages of residual blocks, global average pooling, one linear layer.

    The five stages divide T by 1, 2, 4, 8, 16 and H, W by 4, 4, 8, 16, 32, rounding up: padding keeps
    at least one element for any clip. Where the last stage keeps only one (T <= 16 and size <= 32),
    batch normalisation cannot train on a batch of a single clip.
    """

    def __init__(
        self,
        block: "type[BasicBlock | Bottleneck]",
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        avgpool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        self.conv1 = Stem(64, frames=7)
        self.bn1 = nn.BatchNorm3d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        inputs = (64, *(width * block.expansion for width in widths))
        stages = [
            _stage(block, inputs[i], widths[i], depth=depths[i], stride=1 if i == 0 else 2) for i in range(len(widths))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = avgpool or nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(inputs[-1], num_classes)
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(clip_BCTHW)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3x3(channels, width, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _conv3x3x3(width, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T/stride, H/stride, W/stride], rounded up."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3, 1x1x1 convolutions and a shortcut; `expansion` times the width comes out."""

    expansion = 4
    groups = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv3d(channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _conv3x3x3(width, width, stride, self.groups)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width * expansion, T/stride, H/stride, W/stride], rounded up."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNeXtBottleneck(Bottleneck):
    """Bottleneck whose 3x3x3 convolution has 32 groups (the cardinality)."""

    expansion = 2
    groups = 32


def _stage(block: type[BasicBlock | Bottleneck], channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    later = partial(block, width * block.expansion, width, stride=1)
    return nn.Sequential(block(channels, width, stride), *(later() for _ in range(depth - 1)))


def _conv3x3x3(channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, out_channels, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and channels == out_channels:
        return nn.Identity()
    conv = nn.Conv3d(channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels))
