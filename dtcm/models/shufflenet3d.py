"""3D-ShuffleNetV1 and V2 (Köpüklü et al., ICCVW 2019, https://github.com/okankop/Efficient-3DCNNs).

Among the paper's comparisons (Tables III-V). V1 has three groups. Parameter names are those of the public
Kinetics-600 checkpoints, "banch" included. Both take clips of any T and size.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import channel_shuffle, pad

from dtcm.models.layers import kaiming, to_255_less_mean

GROUPS = 3
"""Of V1's pointwise convolutions."""
V1_CHANNELS = (24, 240, 480, 960)
"""Of the stem and the three stages, at width 1 and three groups."""
V2_CHANNELS = {
    0.25: (24, 32, 64, 128, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 224, 488, 976, 2048),
}
"""Width -> channels of the stem, the three stages and the last convolution."""
DEPTHS = (4, 8, 4)
"""Blocks of the three stages."""


def shufflenet3d_v1(num_classes: int, frames: int, size: int, width: float = 1.0) -> nn.Module:
    """3D-ShuffleNetV1 of three groups, 0.96 M parameters at width 1."""
    return ShuffleNet3DV1([int(channels * width) for channels in V1_CHANNELS], num_classes)


def shufflenet3d_v2(num_classes: int, frames: int, size: int, width: float = 1.0) -> nn.Module:
    """3D-ShuffleNetV2, 1.3 M parameters at width 1."""
    return ShuffleNet3DV2(V2_CHANNELS[width], num_classes)


class ShuffleNet3DV1(nn.Module):
    """Stem, three stages of `GroupedBottleneck`, the mean over time and space, one linear layer."""

    def __init__(self, channels: list[int], num_classes: int) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        self.conv1 = _conv_bn(3, channels[0])
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        stages = [_stage(GroupedBottleneck, channels[i], channels[i + 1], DEPTHS[i]) for i in range(3)]
        self.layer1, self.layer2, self.layer3 = (nn.Sequential(*stage) for stage in stages)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels[3], num_classes))
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.maxpool(self.conv1(self.normalize(clip_BCTHW)))
        return self.classifier(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3, 4)))


class ShuffleNet3DV2(nn.Module):
    """Stem, three stages of `SplitUnit`, a pointwise convolution, the mean over time and space, one linear layer."""

    def __init__(self, channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.normalize = to_255_less_mean()
        self.conv1 = _conv_bn(3, channels[0])
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        stages = [_stage(SplitUnit, channels[i], channels[i + 1], DEPTHS[i]) for i in range(3)]
        self.features = nn.Sequential(*(block for stage in stages for block in stage))
        self.conv_last = nn.Sequential(*_pointwise(channels[3], channels[4]))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels[4], num_classes))
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.features(self.maxpool(self.conv1(self.normalize(clip_BCTHW))))
        return self.classifier(self.conv_last(x).mean(dim=(2, 3, 4)))


class GroupedBottleneck(nn.Module):
    """V1's block: grouped pointwise, shuffle, depthwise 3x3x3, grouped pointwise; a shortcut, pooled where strided."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        hidden = out_channels // 4
        new_channels = out_channels - channels if stride == 2 else out_channels
        # The stem's 24 channels of width 1 are not grouped, of other widths they are: so the public models are.
        self.conv1 = nn.Conv3d(channels, hidden, 1, groups=1 if channels == 24 else GROUPS, bias=False)
        self.bn1 = nn.BatchNorm3d(hidden)
        self.conv2 = nn.Conv3d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm3d(hidden)
        self.conv3 = nn.Conv3d(hidden, new_channels, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm3d(new_channels)
        self.shortcut = nn.AvgPool3d(kernel_size=(2, 3, 3), stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        y = channel_shuffle(torch.relu(self.bn1(self.conv1(x))), GROUPS)
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        if self.stride == 1:
            return torch.relu(y + x)
        if x.shape[2] % 2:  # the shortcut's window is even in time: an odd last frame is averaged with itself
            x = torch.cat([x, x[:, :, -1:]], dim=2)
        return torch.relu(torch.cat([y, self.shortcut(pad(x, (1, 1, 1, 1)))], dim=1))


class SplitUnit(nn.Module):
    """V2's block: one half of the channels passes as it is; where strided, both branches see all and are strided."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        branch_channels = half if stride == 1 else channels
        if stride == 2:
            self.banch1 = nn.Sequential(*_depthwise(channels, stride), *_pointwise(channels, half))
        self.banch2 = nn.Sequential(
            *_pointwise(branch_channels, half), *_depthwise(half, stride), *_pointwise(half, half)
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        if self.stride == 1:
            kept, changed = x.chunk(2, dim=1)
            return channel_shuffle(torch.cat([kept, self.banch2(changed)], dim=1), 2)
        return channel_shuffle(torch.cat([self.banch1(x), self.banch2(x)], dim=1), 2)


def _stage(block: "type[GroupedBottleneck | SplitUnit]", channels: int, out_channels: int, depth: int) -> list:
    return [block(channels, out_channels, stride=2), *(block(out_channels, out_channels, 1) for _ in range(depth - 1))]


def _conv_bn(channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv3d(channels, out_channels, kernel_size=3, stride=(1, 2, 2), padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True))


def _pointwise(channels: int, out_channels: int) -> list[nn.Module]:
    conv = nn.Conv3d(channels, out_channels, kernel_size=1, bias=False)
    return [conv, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv3d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm3d(channels)]
