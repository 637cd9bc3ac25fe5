"""3D-MobileNetV1 and V2 (Köpüklü et al., ICCVW 2019, https://github.com/okankop/Efficient-3DCNNs).

Among the paper's comparisons (Tables III-V). A width factor multiplies the channels of every layer. Parameter
names are those of the public Kinetics-600 checkpoints. Both take clips of any T and size.
"""

import torch
from torch import Tensor, nn

from dtcm.models.layers import kaiming, to_255_less_mean

V1_STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
"""Channels, blocks, and stride of the first block, in time and space alike."""
V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, and stride of the first block."""


def mobilenet3d_v1(num_classes: int, frames: int, size: int, width: float = 1.0) -> nn.Module:
    """3D-MobileNetV1: depthwise, then pointwise convolutions. 3.3 M parameters at width 1."""
    channels = int(32 * width)
    layers: list[nn.Module] = [_conv_bn(3, channels, nn.ReLU)]
    for stage_channels, blocks, stride in V1_STAGES:
        out_channels = int(stage_channels * width)
        for i in range(blocks):
            layers.append(SeparableConv(channels, out_channels, stride if i == 0 else 1))
            channels = out_channels
    return MobileNet3D(layers, channels, num_classes)


def mobilenet3d_v2(num_classes: int, frames: int, size: int, width: float = 1.0) -> nn.Module:
    """3D-MobileNetV2: inverted residuals with linear bottlenecks. 2.4 M parameters at width 1."""
    channels = int(32 * width)
    layers: list[nn.Module] = [_conv_bn(3, channels, nn.ReLU6)]
    for expansion, stage_channels, blocks, stride in V2_STAGES:
        out_channels = int(stage_channels * width)
        for i in range(blocks):
            layers.append(InvertedResidual(channels, out_channels, stride if i == 0 else 1, expansion))
            channels = out_channels
    last_channels = int(1280 * max(width, 1.0))
    last = nn.Conv3d(channels, last_channels, kernel_size=1, bias=False)
    layers.append(nn.Sequential(last, nn.BatchNorm3d(last_channels), nn.ReLU6(inplace=True)))
    return MobileNet3D(layers, last_channels, num_classes)


class MobileNet3D(nn.Module):
    """A sequence of blocks, the mean over time and space, one linear layer."""

    def __init__(self, layers: list[nn.Module], channels: int, num_classes: int) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, num_classes))
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        return self.classifier(self.features(self.normalize(clip_BCTHW)).mean(dim=(2, 3, 4)))


class SeparableConv(nn.Module):
    """MobileNetV1's block: a depthwise 3x3x3 and a pointwise convolution."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, out_channels, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise 3x3x3, project without activation; a shortcut where the shape stays."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [nn.Conv3d(channels, hidden, 1, bias=False), nn.BatchNorm3d(hidden), nn.ReLU6(inplace=True)]
        self.conv = nn.Sequential(
            *(expand if expansion > 1 else []),
            nn.Conv3d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm3d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv3d(hidden, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.shortcut = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


def _conv_bn(channels: int, out_channels: int, activation: type[nn.ReLU] | type[nn.ReLU6]) -> nn.Sequential:
    conv = nn.Conv3d(channels, out_channels, kernel_size=3, stride=(1, 2, 2), padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels), activation(inplace=True))
