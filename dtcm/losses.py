"""The loss of joint training (Sec. III-B, III-C, Eq. 1-7): one function for each term, and their weighted sum.

Clips are RGB in [0, 1], [B, 3, T, H, W]; `dark` is the input, `enhanced` the enhancer's output. Every term is
computed for each clip by itself and then averaged over clips, so a batch may be split over workers at will;
`reduction="none"` returns the values of the clips, [B]. Exposure, colour and smoothness follow Zero-DCE (Guo
et al., CVPR 2020, https://github.com/Li-Chongyi/Zero-DCE).
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.linalg import vector_norm
from torch.nn.functional import avg_pool2d, cross_entropy

from dtcm.config import LossConfig
from dtcm.errors import BadInput
from dtcm.models.dtcm import Output

Reduction = Literal["mean", "none"]
Trained = Literal["both", "enhancer", "classifier"]
"""Which parts of the joint model a step trains."""
BT601 = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma (Eq. 12)."""
S_C = 112 / 255
"""Mean luma of a normally exposed frame (below Eq. 13), of values in [0, 1]."""


class JointLoss(NamedTuple):
    """The loss to descend and what it is made of."""

    total: Tensor
    """A scalar: L_total of Eq. 7, or what of it trains the part that is trained."""
    parts: dict[str, Tensor]
    """Unweighted scalars without gradient: ar, sc, tc, stc (Eq. 4), exp, col, tv, dark (Eq. 5)."""


def joint(output: Output, labels: Tensor, dark: Tensor, config: LossConfig, trained: Trained = "both") -> JointLoss:
    """L_total = L_AR + α (W_STC L_STC + L_Dark) (Eq. 7) of a batch, or what of it trains a part by itself (Table VI).

    Args:
        output: the joint model's.
        labels: class indices [B].
        dark: the clip that the model was given.
        config: weights and options.
        trained: the classifier alone is trained by L_AR, the enhancer alone by W_STC L_STC + L_Dark.
    """
    signed = config.signed_differences
    ar = cross_entropy(output.logits, labels, label_smoothing=config.label_smoothing)
    sc = spatial_consistency(output.enhanced, dark, signed=signed)
    tc = temporal_consistency(output.enhanced, dark, signed=signed)
    stc = sc + tc
    exp = exposure(output.enhanced, exposure_level(dark, config), distance=config.exposure_distance)
    col = color_constancy(output.enhanced, distance=config.color_distance)
    tv = illumination_smoothness(output.curves)
    dark_enhancement = exp + config.w_col * col + config.w_tv * tv
    enhancement = config.w_stc * stc + dark_enhancement
    if trained == "both" and config.setting == "one-stage":
        total = ar + config.alpha * enhancement
    else:
        total = enhancement if trained == "enhancer" else ar
    parts = {"ar": ar, "sc": sc, "tc": tc, "stc": stc, "exp": exp, "col": col, "tv": tv, "dark": dark_enhancement}
    return JointLoss(total, {name: value.detach() for name, value in parts.items()})


def spatial_consistency(enhanced: Tensor, dark: Tensor, signed: bool = False, reduction: Reduction = "mean") -> Tensor:
    """L_SC: enhancement should keep the contrast between neighbouring 4x4 regions (Eq. 1-2).

    Sum over a region's eight neighbours of (|Y_i - Y_j| - |P_i - P_j|)², Y and P the mean intensities of
    enhanced and dark regions, averaged over regions and frames. Neighbours beyond the border do not count.
    `signed` compares Y_i - Y_j with P_i - P_j, as Zero-DCE's code does. Rows and columns that fill no region
    are left out.
    """
    values_BT = _region_inconsistency(enhanced, dark, signed)
    return _reduce(values_BT.mean(dim=1), reduction)


def temporal_consistency(enhanced: Tensor, dark: Tensor, signed: bool = False, reduction: Reduction = "mean") -> Tensor:
    """L_TC: L_SC of the RGB-differences |I_{t+1} - I_t| in the place of frames (Eq. 3).

    0 for clips of one frame.
    """
    if enhanced.shape[2] == 1:
        return _reduce(enhanced.new_zeros(enhanced.shape[0]), reduction)
    return spatial_consistency(_rgb_difference(enhanced), _rgb_difference(dark), signed, reduction)


def spatio_temporal_consistency(
    enhanced: Tensor, dark: Tensor, signed: bool = False, reduction: Reduction = "mean"
) -> Tensor:
    """L_STC = L_SC + L_TC (Eq. 4), which Table XI reports as spatio-temporal inconsistency."""
    sc = spatial_consistency(enhanced, dark, signed, reduction)
    return sc + temporal_consistency(enhanced, dark, signed, reduction)


def exposure(
    enhanced: Tensor,
    level: float | Tensor = 0.6,
    distance: Literal["squared", "absolute"] = "squared",
    reduction: Reduction = "mean",
) -> Tensor:
    """L_exp: mean distance of the intensity of 16x16 regions from a well-exposed level, one or each clip's, [B].

    Squared as in Zero-DCE's code, or absolute as in its paper. Rows and columns that fill no region are left out.
    """
    level = level.view(-1, 1, 1, 1) if isinstance(level, Tensor) else level
    off_BThw = _region_means(enhanced.mean(dim=1), side=16) - level
    values_BThw = off_BThw.square() if distance == "squared" else off_BThw.abs()
    return _reduce(values_BThw.mean(dim=(1, 2, 3)), reduction)


def exposure_level(dark: Tensor, config: LossConfig) -> float | Tensor:
    """E of the exposure loss: `config.exposure`, or each clip's by its mean luma Y, [B].

    E = e_min + (e_max - e_min) sqrt(min(1, Y / S_c)), S_c = 112/255 (Eq. 13). To draw every clip to one level is to
    amplify noise and the steps of 8 bits the more the darker it is; so E rises with Y. The root spreads dark videos,
    whose Y is below 0.123 S_c (Eq. 14), over the lower third of the range; on a line they would all get about e_min.
    """
    if config.exposure_target == "fixed":
        return config.exposure
    luma_B = (dark.mean(dim=(2, 3, 4)) * dark.new_tensor(BT601)).sum(dim=1)
    return config.e_min + (config.e_max - config.e_min) * (luma_B / S_C).clamp(max=1).sqrt()


def color_constancy(
    enhanced: Tensor, distance: Literal["squares", "fourth-root"] = "squares", reduction: Reduction = "mean"
) -> Tensor:
    """L_col: the mean red, green and blue of a frame should be equal; averaged over frames.

    Sum of the squared differences of the three pairs ("squares", Zero-DCE's paper), or the root of the sum of
    their fourth powers ("fourth-root", its code).
    """
    rgb_BCT = enhanced.mean(dim=(3, 4))
    squares_BCT = (rgb_BCT - rgb_BCT.roll(1, dims=1)).square()
    # vector_norm, unlike sqrt, has a finite gradient where all differences are 0: a grey frame.
    values_BT = squares_BCT.sum(dim=1) if distance == "squares" else vector_norm(squares_BCT, dim=1)
    return _reduce(values_BT.mean(dim=1), reduction)


def illumination_smoothness(curves: Tensor, reduction: Reduction = "mean") -> Tensor:
    """L_tvA: neighbouring pixels should have similar curves; of keyframes' maps R, [B, N, 24, H, W].

    Twice the sum over the 24 maps of their mean squared vertical and mean squared horizontal forward
    differences, averaged over keyframes, as in Zero-DCE's code. 0 for an enhancer without curves (N = 0).
    """
    if not curves.shape[1]:
        return _reduce(curves.new_zeros(len(curves)), reduction)
    return _reduce(2 * _Roughness.apply(curves).sum(dim=2).mean(dim=1), reduction)


class _Roughness(Function):
    """Mean squared vertical and mean squared horizontal forward differences of maps [B, N, C, H, W], added: [B, N, C].

    Backward takes the differences again and adds them in place. Autograd would keep them, and make ten tensors of their
    size on the way back, which took three times as long.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        vertical_BNC, horizontal_BNC = (maps.diff(dim=dim).square_().mean(dim=(3, 4)) for dim in (3, 4))
        return vertical_BNC + horizontal_BNC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BNC: Tensor) -> Tensor:
        (maps,) = ctx.saved_tensors
        of_maps = torch.zeros_like(maps)
        for dim in (3, 4):
            change = maps.diff(dim=dim)
            height, width = change.shape[3:]
            change *= (grad_BNC * 2 / (height * width))[..., None, None]
            of_maps.narrow(dim, 1, change.shape[dim]).add_(change)
            of_maps.narrow(dim, 0, change.shape[dim]).sub_(change)
        return of_maps


def _region_inconsistency(enhanced: Tensor, dark: Tensor, signed: bool) -> Tensor:
    """L_SCF of Eq. 1 for each frame, [B, T]."""
    Y = _region_means(enhanced.mean(dim=1), side=4)
    P = _region_means(dark.mean(dim=1), side=4)
    # Eight neighbours are four directions there and back, and back gives the same square.
    inconsistency_BT = Y.new_zeros(Y.shape[:2])
    for y, p in zip(_neighbour_differences(Y), _neighbour_differences(P), strict=True):
        deviation = y - p if signed else y.abs() - p.abs()
        inconsistency_BT = inconsistency_BT + 2 * deviation.square().sum(dim=(2, 3))
    return inconsistency_BT / (Y.shape[2] * Y.shape[3])


def _neighbour_differences(x: Tensor) -> list[Tensor]:
    """Differences of the last two dimensions' elements: right, down, down-right, down-left."""
    return [
        x[..., :, 1:] - x[..., :, :-1],
        x[..., 1:, :] - x[..., :-1, :],
        x[..., 1:, 1:] - x[..., :-1, :-1],
        x[..., 1:, :-1] - x[..., :-1, 1:],
    ]


def _region_means(intensity_BTHW: Tensor, side: int) -> Tensor:
    """Means of side x side regions, [B, T, H // side, W // side]."""
    height, width = intensity_BTHW.shape[2:]
    if min(height, width) < side:
        raise BadInput(f"Frames of {height}x{width} px hold no {side}x{side} region; use a crop of at least 16 px.")
    return avg_pool2d(intensity_BTHW, side)


def _rgb_difference(clip_BCTHW: Tensor) -> Tensor:
    return clip_BCTHW.diff(dim=2).abs()


def _reduce(values_B: Tensor, reduction: Reduction) -> Tensor:
    return values_B.mean() if reduction == "mean" else values_B
