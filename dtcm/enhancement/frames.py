"""What all enhancement methods share: they brighten each frame of a clip alone, and learn nothing.

Shapes: B clips, T frames, N = B T frames, C = 3 colours RGB in [0, 1], H, W.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

CHUNK_PX = 2**20
"""Pixels that are worked on at a time: about 80 frames of 112 x 112, whatever the length of the clip."""


def per_frame(brighten: Callable[[Tensor], Tensor], clip_BCTHW: Tensor) -> Tensor:
    """A clip of which each frame went through `brighten`, [N, C, H, W] to the same, in bounded memory."""
    frames_NCHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)
    chunk = max(1, CHUNK_PX // frames_NCHW[0, 0].numel())
    brightened = torch.cat([brighten(frames) for frames in frames_NCHW.split(chunk)])
    return brightened.unflatten(0, (clip_BCTHW.shape[0], -1)).transpose(1, 2)


class Classical(nn.Module):
    """A method without weights, a function from clip to clip, as a module."""

    def __init__(self, enhance: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enhance = enhance

    @torch.no_grad()
    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """The brightened clip, of the same shape and in [0, 1]."""
        return self.enhance(clip_BCTHW)


class Learned(nn.Module, ABC):
    """A network trained elsewhere, which brightens frames and stays as it is."""

    @abstractmethod
    def brighten(self, frames_NCHW: Tensor) -> Tensor:
        """Frames of the same shape, in [0, 1]."""

    @torch.no_grad()
    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """The brightened clip, of the same shape and in [0, 1]."""
        return per_frame(self.brighten, clip_BCTHW)
