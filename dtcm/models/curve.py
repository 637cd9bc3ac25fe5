"""The brightening curve (Eq. 9-10) in one pass: of its eight iterations nothing is kept, backward computes them again.

Autograd by itself keeps sixteen clips, two for each iteration. On a CPU a group of frames goes through all
iterations while it is in the cache; on a GPU `dtcm.models.curve_triton` does it in registers.

Shapes: B clips, N keyframes, T frames, C channels (3 of a frame, 24 = 8 maps x RGB of a curve), H, W.
"""

import functools
import itertools
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ITERATIONS = 8
"""Times that the curve is applied to itself (Sec. III-D)."""
PART = 2**15 - 1
"""Values that a CPU takes through all iterations at once; from 2^15 torch shares an operation among threads."""


def apply_curves(clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int) -> Tensor:
    """Brighten each frame with the curve of its group: eight times x + r_i (x² - x) (Eq. 9-10).

    The curve maps [0, 1] into [0, 1] for r in [-1, 1], in float32 too, so nothing is clamped. Gradients of
    gradients are not to be had.
    """
    is_left_to_autograd = clip_BCTHW.is_cuda and not _has_kernels(clip_BCTHW)
    if torch.compiler.is_compiling() or is_left_to_autograd:  # a compiler fuses by itself
        return plain_curves(clip_BCTHW, curves_BNCHW, k)
    return _Curve.apply(clip_BCTHW, curves_BNCHW, k)


def plain_curves(clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int) -> Tensor:
    """`apply_curves` as its formula, left to autograd."""
    whole = clip_BCTHW.shape[2] // k  # groups of k frames; what is left over is a shorter one
    clip_parts = clip_BCTHW.split(whole * k, dim=2) if whole else (clip_BCTHW,)
    curve_parts = curves_BNCHW.split(whole, dim=1) if whole else (curves_BNCHW,)
    enhanced = [_apply_to_groups(x, r) for x, r in zip(clip_parts, curve_parts, strict=True)]
    return torch.cat(enhanced, dim=2) if len(enhanced) > 1 else enhanced[0]


def _apply_to_groups(clip_BCTHW: Tensor, curves_BNCHW: Tensor) -> Tensor:
    """`plain_curves` where N groups of equal length make the clip."""
    x = clip_BCTHW.unflatten(2, (curves_BNCHW.shape[1], -1))
    for r_BNCHW in curves_BNCHW.chunk(ITERATIONS, dim=2):
        r = r_BNCHW.transpose(1, 2).unsqueeze(3)  # broadcast over the group: never copied per frame
        x = x + r * (x * x - x)
    return x.flatten(2, 3)


class _Curve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(clip_BCTHW, curves_BNCHW)
        ctx.k = k
        if _has_kernels(clip_BCTHW):
            from dtcm.models import curve_triton

            return curve_triton.forward(clip_BCTHW, curves_BNCHW, k)
        return _forward(clip_BCTHW, curves_BNCHW, k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BCTHW: Tensor) -> tuple[Tensor | None, Tensor, None]:
        clip_BCTHW, curves_BNCHW = ctx.saved_tensors
        if _has_kernels(clip_BCTHW):
            from dtcm.models import curve_triton

            wanted = ctx.needs_input_grad[0]
            return *curve_triton.backward(gradient_BCTHW, clip_BCTHW, curves_BNCHW, ctx.k, wanted), None
        return *_backward(gradient_BCTHW, clip_BCTHW, curves_BNCHW, ctx.k, ctx.needs_input_grad[0]), None


def _has_kernels(x: Tensor) -> bool:
    return x.is_cuda and x.dtype == torch.float32 and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """Whether Triton is there, and the C compiler with which it builds what starts a kernel."""
    compilers = (os.environ.get("CC"), shutil.which("gcc"), shutil.which("clang"))
    return find_spec("triton") is not None and any(compilers)


def _forward(clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int) -> Tensor:
    enhanced_BCTHW = clip_BCTHW.clone(memory_format=torch.contiguous_format)
    for (x_CTP,), r_ICTP, _ in _parts(k, curves_BNCHW, curves_BNCHW, enhanced_BCTHW):
        change_CTP = torch.empty_like(x_CTP)
        for r_CTP in r_ICTP:
            torch.mul(x_CTP, x_CTP, out=change_CTP)
            x_CTP += change_CTP.sub_(x_CTP).mul_(r_CTP)
    return enhanced_BCTHW


def _backward(
    gradient_BCTHW: Tensor, clip_BCTHW: Tensor, curves_BNCHW: Tensor, k: int, of_clip: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of the clip, if wanted, and of the curves; in autograd's order of sums, so bit for bit its own.

    From x' = x + r (x² - x) follow dx = dx' - r dx' + 2 x r dx' and dr = (x² - x) dx'.
    """
    of_clip_BCTHW = gradient_BCTHW.clone(memory_format=torch.contiguous_format)
    of_curves_BNCHW = torch.empty_like(curves_BNCHW, memory_format=torch.contiguous_format)
    for (x_CTP, gradient_CTP), r_ICTP, out_ICTP in _parts(k, curves_BNCHW, of_curves_BNCHW, clip_BCTHW, of_clip_BCTHW):
        x_ICTP, change_CTP = [x_CTP], torch.empty_like(x_CTP)
        for r_CTP in r_ICTP[:-1]:
            torch.mul(x_ICTP[-1], x_ICTP[-1], out=change_CTP)
            x_ICTP.append(x_ICTP[-1] + change_CTP.sub_(x_ICTP[-1]).mul_(r_CTP))
        for number in reversed(range(ITERATIONS)):
            x_CTP, r_CTP = x_ICTP[number], r_ICTP[number]
            torch.mul(x_CTP, x_CTP, out=change_CTP)
            torch.sum(change_CTP.sub_(x_CTP).mul_(gradient_CTP), dim=1, keepdim=True, out=out_ICTP[number])
            if number or of_clip:
                torch.mul(gradient_CTP, r_CTP, out=change_CTP)
                gradient_CTP -= change_CTP
                change_CTP *= x_CTP
                gradient_CTP += change_CTP
                gradient_CTP += change_CTP
    return of_clip_BCTHW if of_clip else None, of_curves_BNCHW


def _parts(
    k: int, curves_BNCHW: Tensor, out_BNCHW: Tensor, *clips: Tensor
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """Pixels of a group of frames, from every clip [C, T, P], and of its eight maps and those to write [I, C, 1, P].

    Few enough to stay in the cache, and that torch does not wake other threads for so little: where the decoders
    have the other cores, to wait for those takes longer than the work.
    """
    *clips_BCTP, curves_BNCP, out_BNCP = (x.flatten(3) for x in (*clips, curves_BNCHW, out_BNCHW))
    for b, n in itertools.product(*map(range, curves_BNCP.shape[:2])):
        group = [clip_BCTP[b, :, n * k : n * k + k] for clip_BCTP in clips_BCTP]
        # Contiguous: the network's maps come with their channels last.
        r_ICTP, out_ICTP = (
            x_BNCP[b, n].contiguous().unflatten(0, (ITERATIONS, -1)).unsqueeze(2) for x_BNCP in (curves_BNCP, out_BNCP)
        )
        pixels = max(1, PART // group[0][:, :, 0].numel())
        pieces = (x.split(pixels, dim=-1) for x in (*group, r_ICTP, out_ICTP))
        for *pieces_CTP, r_ICTp, out_ICTp in zip(*pieces, strict=True):
            yield pieces_CTP, r_ICTp, out_ICTp
