"""Networks that estimate brightening curves, and the curve itself (Sec. III-D, Eq. 8-11).

A network sees only the keyframes of a clip and returns eight curve maps for each; the curve brightens
every frame with the maps of its group's keyframe. Two networks: the paper's light one (Fig. 3) and
its baseline Zero-DCE (Guo et al., CVPR 2020, https://github.com/Li-Chongyi/Zero-DCE).

Shapes: B clips, N keyframes, T frames, C channels (3 of a frame, 24 = 8 maps x RGB of a curve), H, W.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dtcm.errors import BadInput
from dtcm.models.curve import ITERATIONS, apply_curves


class Enhanced(NamedTuple):
    """What an enhancer returns: the brightened clip and the curves it was brightened with."""

    clip: Tensor
    """[B, 3, T, H, W] in [0, 1]."""
    curves: Tensor
    """R of the keyframes, [B, ceil(T/k), 24, H, W] in [-1, 1]; channel 3i + c is map r_i of colour c."""


def keyframes(frames: int, k: int) -> list[int]:
    """Indices of the frames whose curves are shared by groups of k, middle ones (Eq. 11).

    A shorter last group takes the middle of its own length: keyframes(10, 4) is [2, 6, 9].
    Raises BadInput for k below 1.
    """
    if k < 1:
        raise BadInput(f"k is the number of frames that share a curve: choose 1 or more, not {k}.")
    return [start + min(k, frames - start) // 2 for start in range(0, frames, k)]


class Enhancer(nn.Module, ABC):
    """A network F of Eq. 8 with the curve of Eq. 9; subclasses say how `features` are made."""

    @abstractmethod
    def features(self, frames_NCHW: Tensor) -> Tensor:
        """The curve maps before their Tanh, [N, 24, H, W]."""

    def curves(self, frames_NCHW: Tensor) -> Tensor:
        """Curve maps R = F(I) in [-1, 1], [N, 24, H, W], of RGB frames in [0, 1] (Eq. 8).

        Float32 even where autocast runs the convolutions in bfloat16.
        """
        if frames_NCHW.device.type == "cpu":  # a fifth faster there, for so few channels and depthwise convolutions
            frames_NCHW = frames_NCHW.contiguous(memory_format=torch.channels_last)
        return torch.tanh(_at_least_float32(self.features(frames_NCHW)))

    def forward(self, clip_BCTHW: Tensor, k: int = 4) -> Enhanced:
        """Brighten a clip in [0, 1], groups of k frames sharing a curve (Eq. 9-11).

        The curve is computed in float32 under autocast too: eight iterations in bfloat16 would leave
        visible steps.
        """
        batch, _, frames, _, _ = clip_BCTHW.shape
        keys_BNCHW = clip_BCTHW[:, :, keyframes(frames, k)].transpose(1, 2)
        curves_BNCHW = self.curves(keys_BNCHW.flatten(0, 1)).unflatten(0, (batch, -1))
        return Enhanced(apply_curves(_at_least_float32(clip_BCTHW), curves_BNCHW, k), curves_BNCHW)


class ZeroDCE(Enhancer):
    """Zero-DCE, the paper's baseline: seven 3x3 convolutions, 79,416 parameters.

    Layers carry the names of the public checkpoint (Epoch99.pth), so that it loads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.e_conv1 = _conv3x3(3, 32)
        self.e_conv2 = _conv3x3(32, 32)
        self.e_conv3 = _conv3x3(32, 32)
        self.e_conv4 = _conv3x3(32, 32)
        self.e_conv5 = _conv3x3(64, 32)
        self.e_conv6 = _conv3x3(64, 32)
        self.e_conv7 = _conv3x3(64, 3 * ITERATIONS)
        self.relu = nn.ReLU()
        _init(self)

    def features(self, frames_NCHW: Tensor) -> Tensor:
        """The curve maps before their Tanh, [N, 24, H, W]."""
        x1 = self.relu(self.e_conv1(frames_NCHW))
        x2 = self.relu(self.e_conv2(x1))
        x3 = self.relu(self.e_conv3(x2))
        x4 = self.relu(self.e_conv4(x3))
        x5 = self.relu(self.e_conv5(torch.cat([x3, x4], dim=1)))
        x6 = self.relu(self.e_conv6(torch.cat([x2, x5], dim=1)))
        return self.e_conv7(torch.cat([x1, x6], dim=1))


class LightEnhancer(Enhancer):
    """The paper's light network (Fig. 3): Zero-DCE's layout of ShuffleNetV2 units, 23,768 parameters.

    Stride 1 throughout, so the maps have the frames' resolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(_conv3x3(3, 32), nn.ReLU())
        self.layer2 = BasicUnit(32)
        self.layer3 = BasicUnit(32)
        self.layer4 = BasicUnit(32)
        self.layer5 = TwoBranchUnit(64, 32)
        self.layer6 = TwoBranchUnit(64, 32)
        self.layer7 = _conv3x3(64, 3 * ITERATIONS)
        _init(self)

    def features(self, frames_NCHW: Tensor) -> Tensor:
        """The curve maps before their Tanh, [N, 24, H, W]."""
        x1 = self.layer1(frames_NCHW)
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        x4 = self.layer4(x3)
        x5 = self.layer5(torch.cat([x3, x4], dim=1))
        x6 = self.layer6(torch.cat([x2, x5], dim=1))
        return self.layer7(torch.cat([x1, x6], dim=1))


class BasicUnit(nn.Module):
    """ShuffleNetV2's basic unit (Ma et al., ECCV 2018): half of the channels pass, half are convolved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(*_pointwise(half, half), *_depthwise(half), *_pointwise(half, half))
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same shape as x."""
        passed, convolved = x_NCHW.chunk(2, dim=1)
        return self.shuffle(torch.cat([passed, self.branch(convolved)], dim=1))


class TwoBranchUnit(nn.Module):
    """ShuffleNetV2's unit for spatial down-sampling, here at stride 1: both branches see all channels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.branch1 = nn.Sequential(*_depthwise(channels), *_pointwise(channels, half))
        self.branch2 = nn.Sequential(*_pointwise(channels, half), *_depthwise(half), *_pointwise(half, half))
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, out_channels, H, W]."""
        return self.shuffle(torch.cat([self.branch1(x_NCHW), self.branch2(x_NCHW)], dim=1))


def _conv3x3(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)


def _pointwise(channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out_channels, kernel_size=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]


def _depthwise(channels: int) -> list[nn.Module]:
    # A bias before batch normalisation has no effect, but the paper's printed costs include it.
    return [nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels), nn.BatchNorm2d(channels)]


def _init(enhancer: Enhancer) -> None:
    """Convolutions from N(0, 0.02) as Zero-DCE; biases and batch normalisation keep torch's defaults."""
    for module in enhancer.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
