"""The brightening curve on a GPU: one kernel forward, one backward, all eight iterations in registers.

A program takes a block of pixels of one group of frames. It reads the group's maps once, then every frame once;
the gradients of the maps add up in its registers, so no two programs write to one place and the result is the
same each time. Maps may come with their channels last, as the networks give them.

Shapes: B clips, N groups, T frames, C channels (3 of a frame, 24 of a curve), P pixels of a frame.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256
"""Pixels of a program."""


def forward(clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int) -> Tensor:
    """As `dtcm.models.curve.apply_curves`."""
    clip_BCTHW, curves_BNCP = clip_BCTHW.contiguous(), curves_BNCHW.flatten(3)
    enhanced_BCTHW = torch.empty_like(clip_BCTHW)
    _launch(_forward, clip_BCTHW, curves_BNCP, k, enhanced_BCTHW)
    return enhanced_BCTHW


def backward(
    gradient_BCTHW: Tensor, clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int, of_clip: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of the clip, if wanted, and of the curves, from that of what `forward` returns."""
    clip_BCTHW, curves_BNCP = clip_BCTHW.contiguous(), curves_BNCHW.flatten(3)
    of_clip_BCTHW = torch.empty_like(clip_BCTHW) if of_clip else clip_BCTHW  # else never written
    of_curves_BNCP, others = torch.empty_like(curves_BNCP), (gradient_BCTHW.contiguous(), of_clip_BCTHW)
    _launch(_backward, clip_BCTHW, curves_BNCP, k, *others, of_curves_BNCP, OF_CLIP=of_clip)
    return of_clip_BCTHW if of_clip else None, of_curves_BNCP.unflatten(3, curves_BNCHW.shape[3:])


def _launch(kernel: Any, clip_BCTHW: Tensor, curves_BNCP: Tensor, k: int, *others: Tensor, **constants: bool) -> None:
    """Run a kernel over all groups and pixels; gradients of the maps have the maps' strides."""
    batch, groups, _, pixels = curves_BNCP.shape
    sizes = (clip_BCTHW.shape[2], pixels, k, groups, *curves_BNCP.stride())
    grid = (triton.cdiv(pixels, BLOCK), batch * groups)  # pixels first: only 65,535 programs fit in the second
    with torch.cuda.device_of(clip_BCTHW):
        kernel[grid](clip_BCTHW, curves_BNCP, *others, *sizes, **constants, BLOCK=BLOCK)


@triton.jit
def _forward(clip, curves, enhanced, frames, pixels, k, groups, sb, sn, sc, sp, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    b, n, pixel, inside = _place(pixels, groups, BLOCK)
    for c in tl.static_range(3):
        maps = curves + b * sb + n * sn + c * sc + pixel * sp
        r0 = tl.load(maps, mask=inside)
        r1 = tl.load(maps + 3 * sc, mask=inside)
        r2 = tl.load(maps + 6 * sc, mask=inside)
        r3 = tl.load(maps + 9 * sc, mask=inside)
        r4 = tl.load(maps + 12 * sc, mask=inside)
        r5 = tl.load(maps + 15 * sc, mask=inside)
        r6 = tl.load(maps + 18 * sc, mask=inside)
        r7 = tl.load(maps + 21 * sc, mask=inside)
        for t in range(n * k, min(n * k + k, frames)):
            at = ((b * 3 + c) * frames + t) * pixels + pixel
            x = tl.load(clip + at, mask=inside)
            x = _next(_next(_next(_next(x, r0), r1), r2), r3)
            x = _next(_next(_next(_next(x, r4), r5), r6), r7)
            tl.store(enhanced + at, x, mask=inside)


@triton.jit
def _backward(clip, curves, gradient, of_clip, of_curves, frames, pixels, k, groups, sb, sn, sc, sp, OF_CLIP: tl.constexpr, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202, E501  # fmt: skip
    b, n, pixel, inside = _place(pixels, groups, BLOCK)
    for c in tl.static_range(3):
        maps = b * sb + n * sn + c * sc + pixel * sp
        r0 = tl.load(curves + maps, mask=inside)
        r1 = tl.load(curves + maps + 3 * sc, mask=inside)
        r2 = tl.load(curves + maps + 6 * sc, mask=inside)
        r3 = tl.load(curves + maps + 9 * sc, mask=inside)
        r4 = tl.load(curves + maps + 12 * sc, mask=inside)
        r5 = tl.load(curves + maps + 15 * sc, mask=inside)
        r6 = tl.load(curves + maps + 18 * sc, mask=inside)
        r7 = tl.load(curves + maps + 21 * sc, mask=inside)
        nothing = tl.zeros((BLOCK,), tl.float32)
        d0, d1, d2, d3, d4, d5, d6, d7 = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
        for t in range(n * k, min(n * k + k, frames)):
            at = ((b * 3 + c) * frames + t) * pixels + pixel
            x0 = tl.load(clip + at, mask=inside)
            x1 = _next(x0, r0)
            x2 = _next(x1, r1)
            x3 = _next(x2, r2)
            x4 = _next(x3, r3)
            x5 = _next(x4, r4)
            x6 = _next(x5, r5)
            x7 = _next(x6, r6)
            g = tl.load(gradient + at, mask=inside)
            d7, g = d7 + g * (x7 * x7 - x7), g + g * r7 * (2 * x7 - 1)
            d6, g = d6 + g * (x6 * x6 - x6), g + g * r6 * (2 * x6 - 1)
            d5, g = d5 + g * (x5 * x5 - x5), g + g * r5 * (2 * x5 - 1)
            d4, g = d4 + g * (x4 * x4 - x4), g + g * r4 * (2 * x4 - 1)
            d3, g = d3 + g * (x3 * x3 - x3), g + g * r3 * (2 * x3 - 1)
            d2, g = d2 + g * (x2 * x2 - x2), g + g * r2 * (2 * x2 - 1)
            d1, g = d1 + g * (x1 * x1 - x1), g + g * r1 * (2 * x1 - 1)
            d0, g = d0 + g * (x0 * x0 - x0), g + g * r0 * (2 * x0 - 1)
            if OF_CLIP:
                tl.store(of_clip + at, g, mask=inside)
        tl.store(of_curves + maps, d0, mask=inside)
        tl.store(of_curves + maps + 3 * sc, d1, mask=inside)
        tl.store(of_curves + maps + 6 * sc, d2, mask=inside)
        tl.store(of_curves + maps + 9 * sc, d3, mask=inside)
        tl.store(of_curves + maps + 12 * sc, d4, mask=inside)
        tl.store(of_curves + maps + 15 * sc, d5, mask=inside)
        tl.store(of_curves + maps + 18 * sc, d6, mask=inside)
        tl.store(of_curves + maps + 21 * sc, d7, mask=inside)


@triton.jit
def _place(pixels, groups, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    """Which clip, group and pixels a program has. In 64 bits: a batch can have more than 2³¹ elements."""
    number = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return number // groups, number % groups, pixel, pixel < pixels


@triton.jit
def _next(x, r):  # noqa: ANN001, ANN202
    """One iteration of the curve."""
    return x + r * (x * x - x)
