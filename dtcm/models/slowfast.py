"""SlowFast on ResNet-50 (Feichtenhofer et al., ICCV 2019): few frames with many channels, many frames with few.

Among the paper's comparisons (Table V). A clip of T = 64 frames makes it SlowFast 16 + 64. Parameter names are those
of https://github.com/open-mmlab/mmaction2, whose SlowFast 8x8 with normalised lateral connections
(slowfast_r50_8x8x1 ... steplr) fits.
"""

import torch
from torch import Tensor, nn

from dtcm.models.layers import IMAGENET, GlobalAvgPool3d, Normalize, kaiming

ALPHA = 4
"""The fast pathway has this many times the slow one's frames."""
BETA = 8
"""The fast pathway has the slow one's channels divided by this (the paper's 1 / beta)."""
FUSION_FRAMES = 7
"""Kernel of the lateral connections in time."""
DEPTHS = (3, 4, 6, 3)


def slowfast_r50(num_classes: int, frames: int, size: int) -> nn.Module:
    """SlowFast-R50, 33.8 M parameters for 48 classes. Takes clips of any T and size; the slow pathway sees T/4."""
    return SlowFast(num_classes)


class SlowFast(nn.Module):
    """Two ResNet-50s, the slow one fed by the fast one before each stage; the means of both to one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalize(*IMAGENET)
        slow = Pathway(width=64, stem_frames=1, inflated=(False, False, True, True), lateral=True)
        fast = Pathway(width=64 // BETA, stem_frames=5, inflated=(True,) * 4, lateral=False)
        self.backbone = nn.ModuleDict({"slow_path": slow, "fast_path": fast})
        self.avgpool = GlobalAvgPool3d()
        self.dropout = nn.Dropout(0.5)
        self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(2048 + 2048 // BETA, num_classes)})
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        slow, fast = self.features(self.normalize(clip_BCTHW))
        pooled = torch.cat([self.avgpool(fast), self.avgpool(slow)], dim=1).flatten(1)
        return self.cls_head["fc_cls"](self.dropout(pooled))

    def features(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Last feature maps, [B, 2048, T/4, H/32, W/32] and [B, 256, T, H/32, W/32], rounded up."""
        slow, fast = clip_BCTHW[:, :, ::ALPHA], clip_BCTHW
        for stage in ("conv1", "layer1", "layer2", "layer3", "layer4"):
            slow = self.backbone["slow_path"].get_submodule(stage)(slow)
            fast = self.backbone["fast_path"].get_submodule(stage)(fast)
            if stage != "layer4":
                slow = torch.cat([slow, self.backbone["slow_path"].get_submodule(f"{stage}_lateral")(fast)], dim=1)
        return slow, fast


class Pathway(nn.Module):
    """The stages of one pathway, and the lateral connections into it where it has them; no stage strides in time."""

    def __init__(self, width: int, stem_frames: int, inflated: tuple[bool, ...], lateral: bool) -> None:
        super().__init__()
        self.conv1 = Stem(width, stem_frames)
        inputs, stages, laterals = width, [], []
        for i, depth in enumerate(DEPTHS):
            laterals.append(Lateral(inputs) if lateral else nn.Identity())
            inputs += 2 * inputs // BETA if lateral else 0
            block_width, stride = width * 2**i, 1 if i == 0 else 2
            first = Bottleneck(inputs, block_width, stride, inflated[i])
            inputs = 4 * block_width
            later = [Bottleneck(inputs, block_width, 1, inflated[i]) for _ in range(depth - 1)]
            stages.append(nn.Sequential(first, *later))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.conv1_lateral, self.layer1_lateral, self.layer2_lateral, self.layer3_lateral = laterals


class ConvBN(nn.Module):
    """A convolution without bias, padded to keep the shape but for its stride, and its batch normalisation."""

    def __init__(
        self, channels: int, out_channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, T/stride, H/stride, W/stride], rounded up."""
        return self.bn(self.conv(x))


class Stem(ConvBN):
    """A strided convolution, ReLU, max-pooling in space."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__(3, width, (frames, 7, 7), (1, 2, 2))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T, H/4, W/4], rounded up."""
        return self.maxpool(torch.relu(super().forward(x)))


class Lateral(ConvBN):
    """From the fast pathway to a slow one of `channels` channels: every fourth frame, twice the fast channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // BETA, 2 * channels // BETA, (FUSION_FRAMES, 1, 1), (ALPHA, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels/4, T/4, H, W], rounded up."""
        return torch.relu(super().forward(x))


class Bottleneck(nn.Module):
    """1x1x1 (inflated: 3x1x1), 1x3x3 (strided in space), 1x1x1 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, inflated: bool) -> None:
        super().__init__()
        strides = (1, stride, stride)
        self.conv1 = ConvBN(channels, width, (3 if inflated else 1, 1, 1))
        self.conv2 = ConvBN(width, width, (1, 3, 3), strides)
        self.conv3 = ConvBN(width, 4 * width, (1, 1, 1))
        same = stride == 1 and channels == 4 * width
        self.downsample = nn.Identity() if same else ConvBN(channels, 4 * width, (1, 1, 1), strides)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4 * width, T, H/stride, W/stride], rounded up."""
        y = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return torch.relu(self.conv3(y) + self.downsample(x))
