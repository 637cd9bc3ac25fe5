"""Pseudo-3D ResNet of 199 layers (Qiu et al., ICCV 2017).

Among the paper's comparisons (Table III). Convolutions in space and in time follow each other (A), run side by side
(B), or follow each other with a shortcut around the second (C), in turn. The last stage is two-dimensional.
Parameter names are those of https://github.com/qijiezhao/pseudo-3d-pytorch.
"""

import torch
from torch import Tensor, nn

from dtcm.models.layers import IMAGENET, Normalize, check_clip, kaiming
from dtcm.models.stem import Stem

DEPTHS = (3, 8, 36)
"""Blocks of the three-dimensional stages."""


def p3d_199(num_classes: int, frames: int, size: int) -> nn.Module:
    """P3D-199, 65.7 M parameters for 11 classes. Takes clips of 16 frames or more and any size."""
    check_clip("P3D-199", frames, size, min_frames=16)
    return P3D(num_classes)


class P3D(nn.Module):
    """Stem, three stages in space and time that each halve T, one stage in space, global average pooling, linear layer.

    T is divided by 16, rounding down: of 16 frames one feature map is left. More than one are averaged.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalize = Normalize(*IMAGENET)
        self.conv1_custom = Stem(64, frames=1)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d((2, 3, 3), stride=2, padding=(0, 1, 1))
        self.maxpool_2 = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1))
        channels, index, stages = 64, 0, []
        for i, depth in enumerate(DEPTHS):
            blocks = []
            for j in range(depth):
                blocks.append(P3DBlock(channels, 64 * 2**i, 2 if i > 0 and j == 0 else 1, "ABC"[index % 3]))
                channels, index = 256 * 2**i, index + 1
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.layer4 = nn.Sequential(PlaneBlock(1024, stride=2), PlaneBlock(2048, 1), PlaneBlock(2048, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        kaiming(self)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1_custom(self.normalize(clip_BCTHW)))))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = self.maxpool_2(stage(x))
        features_NC = self.avgpool(self.layer4(x.transpose(1, 2).flatten(0, 1))).flatten(1)
        return self.fc(self.dropout(features_NC.unflatten(0, (len(clip_BCTHW), -1)).mean(dim=1)))


class P3DBlock(nn.Module):
    """A bottleneck whose middle is a 1x3x3 and a 3x1x1 convolution, combined as `kind` A, B or C says."""

    def __init__(self, channels: int, width: int, stride: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        strides = (1, stride, stride)
        self.conv1 = nn.Conv3d(channels, width, 1, strides, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn3 = nn.BatchNorm3d(width)
        self.conv4 = nn.Conv3d(width, 4 * width, kernel_size=1, bias=False)
        self.bn4 = nn.BatchNorm3d(4 * width)
        self.downsample = nn.Identity()
        if channels != 4 * width:
            shortcut = nn.Conv3d(channels, 4 * width, 1, strides, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4 * width, T, H/stride, W/stride], rounded up."""
        y = torch.relu(self.bn1(self.conv1(x)))
        in_space = torch.relu(self.bn2(self.conv2(y)))
        in_time = torch.relu(self.bn3(self.conv3(y if self.kind == "B" else in_space)))
        y = in_time if self.kind == "A" else in_time + in_space
        return torch.relu(self.bn4(self.conv4(y)) + self.downsample(x))


class PlaneBlock(nn.Module):
    """A bottleneck of ResNet's last stage, in space only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 512, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(512)
        self.conv_normal = nn.Conv2d(512, 512, kernel_size=3, padding=1, bias=False)
        self.bn_normal = nn.BatchNorm2d(512)
        self.conv4 = nn.Conv2d(512, 2048, kernel_size=1, bias=False)
        self.bn4 = nn.BatchNorm2d(2048)
        self.downsample = nn.Identity()
        if channels != 2048:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 2048, 1, stride, bias=False), nn.BatchNorm2d(2048))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, 2048, H/stride, W/stride], rounded up."""
        y = torch.relu(self.bn1(self.conv1(x_NCHW)))
        y = torch.relu(self.bn_normal(self.conv_normal(y)))
        return torch.relu(self.bn4(self.conv4(y)) + self.downsample(x_NCHW))
