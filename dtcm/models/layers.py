"""What several families of classifiers share: normalised input, global pooling, initial weights, limits of a clip."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from dtcm.errors import BadInput

ACTIVITYNET_MEAN = (114.7748, 107.7354, 99.4750)
"""RGB mean of ActivityNet on the scale 0-255, which the checkpoints of 3D-ResNet (2018) and Efficient-3DCNNs expect."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of RGB in [0, 1]: torchvision's ImageNet models, MMAction2, P3D."""
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and standard deviation of RGB in [0, 1]: torchvision's Kinetics models, IG-65M."""
INCEPTION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""RGB from -1 to 1: I3D."""


class Normalize(nn.Module):
    """(clip - mean) / std by channel, of clips in [0, 1]. Adds nothing to a state_dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1, 1), persistent=False)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Of the same shape."""
        return (clip_BCTHW - self.mean) / self.std


def to_255_less_mean() -> Normalize:
    """Values 0-255 less ActivityNet's mean, not divided."""
    return Normalize([mean / 255 for mean in ACTIVITYNET_MEAN], [1 / 255] * 3)


class GlobalAvgPool3d(nn.AvgPool3d):
    """Average pooling over the whole of T, H, W, as nn.AdaptiveAvgPool3d(1) computes it.

    A kind of AvgPool3d where the public model's is, which the paper's operation counts show.
    """

    def __init__(self) -> None:
        super().__init__(kernel_size=1)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, 1, 1, 1]."""
        return avg_pool3d(input, input.shape[2:])


def pool_pairs(x: Tensor) -> Tensor:
    """Average pooling over all of space and windows of two in time: [B, C, T - 1, 1, 1], of one frame that one."""
    frames, height, width = x.shape[2:]
    return avg_pool3d(x, (min(2, frames), height, width), stride=1)


def kaiming(module: nn.Module) -> None:
    """Draw the weights of all convolutions from Kaiming's normal distribution by fan-out; their biases become 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_clip(model: str, frames: int, size: int, min_frames: int = 1, min_size: int = 1) -> None:
    """Raise BadInput where a clip has fewer frames or pixels than the strides of a model leave anything of."""
    for what, value, minimum in (("frames", frames, min_frames), ("pixels of a side", size, min_size)):
        if value < minimum:
            raise BadInput(f"{model} needs clips of at least {minimum} {what}, not {value}.")
