"""The first convolution of 3D-ResNet and its kin, with a gradient for its input that is quick on a CPU.

A classifier that is trained alone never needs that gradient; with an enhancer before it, every step does. Libraries for
CPUs compute the transpose of a strided convolution slowly. It is the same as a convolution of stride 1 that gives the
pixels of even and odd rows and columns as channels of their own (sub-pixel convolution, Shi et al., CVPR 2016).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv3d, pad
from torch.nn.grad import conv3d_weight

STRIDE = (1, 2, 2)


class Stem(nn.Conv3d):
    """T x 7 x 7 over RGB, stride 2 in H and W, no bias: [B, 3, T, H, W] to [B, width, T, H/2, W/2], rounded up."""

    def __init__(self, width: int, frames: int) -> None:
        """`frames`: T of the kernel, odd."""
        super().__init__(3, width, (frames, 7, 7), STRIDE, (frames // 2, 3, 3), bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Conv3d."""
        is_joint_on_cpu = input.requires_grad and input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        return _Strided.apply(input, self.weight) if is_joint_on_cpu else super().forward(input)


class _Strided(Function):
    """The convolution of a stem."""

    @staticmethod
    def forward(ctx: Any, clip_BCTHW: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(clip_BCTHW, weight)
        return conv3d(clip_BCTHW, weight, stride=STRIDE, padding=_padding(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        clip_BCTHW, weight = ctx.saved_tensors
        height, width = clip_BCTHW.shape[-2:]
        is_trained = ctx.needs_input_grad[1]
        of_weight = conv3d_weight(clip_BCTHW, weight.shape, grad, STRIDE, _padding(weight)) if is_trained else None
        return input_gradient(grad, weight)[..., :height, :width], of_weight


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient [B, C, T, 2h, 2w] of the input from that of a stem's output, [B, width, T, h, w].

    Row 2a + r of the input meets row a - 1 + i of the output (i = 0..3) at row 5 + r - 2i of the kernel, if it has
    that row; so do columns. With a row of zeros before it and turned round, that is row 2i + 1 - r of a kernel of 8.
    """
    width, channels = weight.shape[:2]
    turned = pad(weight, (1, 0, 1, 0)).flip(2, 3, 4)
    taps = turned.unflatten(4, (4, 2)).unflatten(3, (4, 2))  # width, C, T, i, 1 - r, then the same of columns
    phases = taps.flip(4, 6).permute(1, 4, 6, 0, 2, 3, 5).reshape(4 * channels, width, -1, 4, 4)
    found = conv3d(pad(grad, (1, 2, 1, 2)), phases, padding=(weight.shape[2] // 2, 0, 0))
    B, _, T, h, w = found.shape
    return found.view(B, channels, 2, 2, T, h, w).permute(0, 1, 4, 5, 2, 6, 3).reshape(B, channels, T, 2 * h, 2 * w)


def _padding(weight: Tensor) -> tuple[int, int, int]:
    return weight.shape[2] // 2, 3, 3
