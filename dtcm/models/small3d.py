"""A small classifier for clips such as 16x64x64, to train from scratch on a CPU, also behind an enhancer.

Not in the paper: it lets the whole system run in minutes where there is neither a GPU nor weights of Kinetics.
Three choices make a few hundred steps on some 150 clips enough:

- It sees only what moves. Each frame less the mean frame says where, each frame less its predecessor says
  which way; a still background, of which every clip has another, cancels out.
- Both are scaled by the clip's own root mean square, so that it matters little how far a clip is brightened.
- The last layer sees a coarse grid of time and place, not one average: where something moves tells a jump
  from a wave, and who moves fills a small part of the frame.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

GRID = 4
"""Cells of the last feature map in time, height and width: its full resolution for clips of 16x64x64."""


def small3d(num_classes: int, frames: int, size: int) -> nn.Module:
    """The small classifier: 307 thousand parameters for 11 classes, any T and size. In one frame nothing moves."""
    return Small3D(num_classes)


class Small3D(nn.Module):
    """Four convolutions on motion, averages over a grid, one linear layer.

    Group normalisation, not batch normalisation: a clip's logits and gradients do not depend on which
    clips share its batch, nor on how a batch is split over workers.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv(6, 16, kernel=(1, 5, 5), stride=(1, 2, 2)),
            *_conv(16, 32, kernel=(3, 3, 3), stride=(1, 2, 2)),
            *_conv(32, 64, kernel=(3, 3, 3), stride=(2, 2, 2)),
            *_conv(64, 96, kernel=(3, 3, 3), stride=(2, 2, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool3d(GRID)
        self.fc = nn.Linear(96 * GRID**3, num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        return self.fc(self.avgpool(self.layers(motion(clip_BCTHW))).flatten(1))


def motion(clip_BCTHW: Tensor) -> Tensor:
    """Six channels, [B, 6, T, H, W]: frames less the mean frame, and frames less their predecessors (first: 0)."""
    from_mean = clip_BCTHW - clip_BCTHW.mean(dim=2, keepdim=True)
    from_last = clip_BCTHW.diff(dim=2, prepend=clip_BCTHW[:, :, :1])
    # eps is the square of a quarter of one 8-bit level: below that there is nothing to scale up.
    return torch.cat([rms_norm(x, x.shape[1:], eps=1e-6) for x in (from_mean, from_last)], dim=1)


def _conv(
    channels: int, out_channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = nn.Conv3d(channels, out_channels, kernel, stride, padding, bias=False)
    return [conv, nn.GroupNorm(8, out_channels), nn.ReLU(inplace=True)]
