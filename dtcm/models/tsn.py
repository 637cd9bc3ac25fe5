"""TSN, TSM and TIN on ResNet-50: an image network on eight frames of a clip.

Among the paper's comparisons (Tables III, V, X). TSN (Wang et al., ECCV 2016) averages what each frame says; TSM (Lin
et al., ICCV 2019) moves some channels to the neighbouring frames before each block; TIN (Shao et al., AAAI 2020)
learns how far. Parameter names are those of https://github.com/open-mmlab/mmaction2; torchvision's ImageNet
ResNet-50 loads too.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dtcm.models.flow import MIN_SIZE, FlowStacks, TwoStream
from dtcm.models.layers import IMAGENET, Normalize, check_clip, kaiming

SEGMENTS = 8
"""Frames that the network sees, one from the middle of each of as many equal parts of a clip."""
FLOW_LENGTH = 5
"""Successive flows that TSN's flow stream sees at once."""
DEPTHS = (3, 4, 6, 3)
"""Blocks of ResNet-50's stages."""


def tsn_r50(num_classes: int, frames: int, size: int) -> nn.Module:
    """TSN, 24.3 M parameters for 400 classes. Takes clips of eight frames or more, of which it sees eight."""
    check_clip("TSN", frames, size, min_frames=SEGMENTS)
    return SegmentNet(num_classes, MiddleFrames(SEGMENTS), dropout=0.4)


def tsn_r50_two_stream(num_classes: int, frames: int, size: int) -> nn.Module:
    """TSN on RGB and on stacks of five flows, the logits averaged. Takes clips of at least 8 frames and 16 pixels."""
    check_clip("TSN on flow", frames, size, min_frames=SEGMENTS, min_size=MIN_SIZE)
    flow = SegmentNet(num_classes, FlowStacks(SEGMENTS, FLOW_LENGTH), dropout=0.4, channels=2 * FLOW_LENGTH)
    return TwoStream(tsn_r50(num_classes, frames, size), flow)


def tsm_r50(num_classes: int, frames: int, size: int) -> nn.Module:
    """TSM, as many parameters as TSN. Takes clips of eight frames or more, of which it sees eight."""
    check_clip("TSM", frames, size, min_frames=SEGMENTS)
    return SegmentNet(num_classes, MiddleFrames(SEGMENTS), dropout=0.5, temporal=TemporalShift)


def tin_r50(num_classes: int, frames: int, size: int) -> nn.Module:
    """TIN, 23.9 M parameters for 174 classes. Takes clips of eight frames or more, of which it sees eight."""
    check_clip("TIN", frames, size, min_frames=SEGMENTS)
    return SegmentNet(num_classes, MiddleFrames(SEGMENTS), dropout=0.5, temporal=Interlaced)


class MiddleFrames(nn.Module):
    """The frame in the middle of each of `parts` equal parts of a clip, normalised for ImageNet's models."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.normalize = Normalize(*IMAGENET)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """[B, parts, 3, H, W]."""
        frames = clip_BCTHW.shape[2]
        chosen = [(2 * part + 1) * frames // (2 * self.parts) for part in range(self.parts)]
        return self.normalize(clip_BCTHW[:, :, chosen]).transpose(1, 2)


class SegmentNet(nn.Module):
    """A ResNet-50 on what `prepare` makes of a clip, [B, SEGMENTS, channels, H, W].

    The logits are the mean of the segments' own. TSN's weights fit TSM and TIN, torchvision's ResNet-50's all three.
    """

    public_names: ClassVar[dict[str, str]] = {
        r"^(conv1|layer\d\.\d\.conv\d)\.weight$": r"backbone.\1.conv.weight",
        r"^((?:layer\d\.\d\.)?)bn(\d)\.": r"backbone.\1conv\2.bn.",
        r"^(layer\d\.0\.downsample)\.0\.": r"backbone.\1.conv.",
        r"^(layer\d\.0\.downsample)\.1\.": r"backbone.\1.bn.",
        r"^fc\.": "cls_head.fc_cls.",
        r"(layer\d\.\d\.conv1\.conv)\.weight$": r"\1.net.weight",
        r"(layer\d\.\d\.conv1\.conv)\.net\.": r"\1.net2.",
    }

    def __init__(
        self,
        num_classes: int,
        prepare: nn.Module,
        dropout: float,
        channels: int = 3,
        temporal: Callable[[nn.Conv2d], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.backbone = ResNet50(channels, temporal)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(2048, num_classes)})

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        frames_NCHW = self.prepare(clip_BCTHW).flatten(0, 1)
        features = self.dropout(self.avgpool(self.backbone(frames_NCHW)).flatten(1))
        return self.cls_head["fc_cls"](features).unflatten(0, (-1, SEGMENTS)).mean(dim=1)


class ResNet50(nn.Module):
    """The body of ResNet-50. `temporal` wraps the first convolution of each block, so that frames may mix there."""

    def __init__(self, channels: int, temporal: Callable[[nn.Conv2d], nn.Module] | None) -> None:
        super().__init__()
        self.conv1 = ConvBN(channels, 64, kernel=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, stages = 64, []
        for i, depth in enumerate(DEPTHS):
            width, stride = 64 * 2**i, 1 if i == 0 else 2
            blocks = [Bottleneck(inputs, width, stride)] + [Bottleneck(4 * width, width, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = 4 * width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        kaiming(self)
        if temporal:
            for block in (block for stage in stages for block in stage):
                block.conv1.conv = temporal(block.conv1.conv)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, 2048, H/32, W/32], rounded up."""
        x = self.maxpool(torch.relu(self.conv1(x_NCHW)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class ConvBN(nn.Module):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, out_channels, H/stride, W/stride], rounded up."""
        return self.bn(self.conv(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(channels, width, kernel=1)
        self.conv2 = ConvBN(width, width, kernel=3, stride=stride)
        self.conv3 = ConvBN(width, 4 * width, kernel=1)
        same = stride == 1 and channels == 4 * width
        self.downsample = nn.Identity() if same else ConvBN(channels, 4 * width, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 4 * width, H/stride, W/stride], rounded up."""
        y = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return torch.relu(self.conv3(y) + self.downsample(x))


class TemporalShift(nn.Module):
    """TSM: of the channels, an eighth comes from the next frame, an eighth from the last, zero where there is none."""

    def __init__(self, net: nn.Conv2d) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """What `net` makes of the shifted frames."""
        return self.net(shift(x_NCHW.unflatten(0, (-1, SEGMENTS))).flatten(0, 1))


def shift(x_BTCHW: Tensor) -> Tensor:
    """The first eighth of the channels one frame earlier, the second one frame later, the rest as it is."""
    eighth = x_BTCHW.shape[2] // 8
    earlier, later, kept = x_BTCHW.tensor_split([eighth, 2 * eighth], dim=2)
    one_after, one_before = (0, 0) * 3 + (0, 1), (0, 0) * 3 + (1, 0)  # torch's order begins with the last side
    return torch.cat([pad(earlier[:, 1:], one_after), pad(later[:, :-1], one_before), kept], dim=2)


class Interlaced(nn.Module):
    """A convolution behind TIN's temporal interlacing."""

    def __init__(self, net: nn.Conv2d) -> None:
        super().__init__()
        self.net1 = TemporalInterlace(net.in_channels // 4)
        self.net2 = net

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """What the convolution makes of the interlaced frames."""
        return self.net2(self.net1(x_NCHW.unflatten(0, (-1, SEGMENTS))).flatten(0, 1))


class TemporalInterlace(nn.Module):
    """TIN: moves four groups within the first quarter of the channels in time, and weighs each frame of them.

    The clip itself says how far: two offsets below 2 frames, and their opposites for the other two groups.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.offset_net = nn.ModuleDict(
            {
                "conv": nn.Conv1d(channels, 1, kernel_size=3, padding=1),
                "fc1": nn.Linear(SEGMENTS, SEGMENTS),
                "fc2": nn.Linear(SEGMENTS, 2),
            }
        )
        self.weight_net = nn.ModuleDict({"conv": nn.Conv1d(channels, 2, kernel_size=3, padding=1)})
        nn.init.constant_(self.offset_net["fc2"].get_parameter("bias"), 0.5108)  # offsets start near half a frame
        nn.init.zeros_(self.weight_net["conv"].get_parameter("bias"))  # weights start near 1

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        """Of the same shape."""
        moving, kept = x_BTCHW.tensor_split([self.channels], dim=2)
        means_BCT = moving.mean(dim=(3, 4)).transpose(1, 2)
        hidden = self.offset_net["fc1"](self.offset_net["conv"](means_BCT)[:, 0])
        offsets_BG = 4 * (torch.sigmoid(self.offset_net["fc2"](torch.relu(hidden))) - 0.5)
        weights_BGT = 2 * torch.sigmoid(self.weight_net["conv"](means_BCT))
        moved = delay(moving.unflatten(2, (4, -1)), torch.cat([offsets_BG, -offsets_BG], dim=1))
        weighed = moved * weights_BGT.repeat(1, 2, 1).transpose(1, 2)[..., None, None, None]
        return torch.cat([weighed.flatten(2, 3), kept], dim=2)


def delay(x_BTGCHW: Tensor, offsets_BG: Tensor) -> Tensor:
    """Each group G of channels some frames later, linearly interpolated, with zeros beyond both ends."""
    time = torch.arange(x_BTGCHW.shape[1], device=x_BTGCHW.device)
    distance_TS = time[:, None] - time
    weights_BGTS = (1 - (distance_TS - offsets_BG[..., None, None]).abs()).clamp(min=0)
    return torch.einsum("bgts,bsgchw->btgchw", weights_BGTS.to(x_BTGCHW.dtype), x_BTGCHW)
