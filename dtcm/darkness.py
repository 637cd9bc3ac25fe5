"""How dark a video is (Eq. 12-14): the mean luma of eight sampled frames, relative to a normal exposure.

Rule "paper" samples a random frame of each of eight equal segments and judges their mean. Rule
"released" is that of the script published with Dark-48: the middle frame of each segment, each judged
alone, and a video is dark if the share of dark frames reaches τ, which with eight frames means all.
"""

from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from dtcm.data.decode import Source, sample_frames
from dtcm.errors import BadInput

SEGMENTS = 8
S_C = 112
"""Mean luma of a normally exposed 8-bit frame (below Eq. 13)."""
TAU = 0.877
"""τ: a video is dark where Dv is below -τ (Eq. 14)."""

Rule = Literal["paper", "released"]


class Darkness(NamedTuple):
    """Eq. 12-14 for one video."""

    dv: float
    """Eq. 13, in [-1, 1.28]: -1 is black, 0 normally exposed."""
    mean_luma: float
    """Mean luma of the sampled frames, in [0, 255]; dv = (mean_luma - 112) / 112."""
    is_dark: bool
    """Eq. 14."""


def darkness(path_or_frames: Source | np.ndarray, seed: int = 0, rule: Rule = "paper", tau: float = TAU) -> Darkness:
    """Darkness of a video file, or of RGB frames uint8 [T, H, W, 3].

    Of a file only the groups of pictures around the eight frames are decoded. The seed decides which frame
    of each segment is taken (rule "paper"). `tau` is τ of Eq. 14. Raises UnreadableVideo, and BadInput for
    frames of another kind.
    """
    if isinstance(path_or_frames, np.ndarray):
        return darkness_from_luma(mean_luma(path_or_frames), seed, rule, tau)
    frames_THWC = sample_frames(path_or_frames, partial(sampled_indices, seed=seed, rule=rule))
    return judge(mean_luma(frames_THWC), rule, tau)


def darkness_from_luma(luma_T: np.ndarray, seed: int = 0, rule: Rule = "paper", tau: float = TAU) -> Darkness:
    """Darkness from the mean luma of every frame of a video, [T]; equals `darkness` of the video."""
    return judge(luma_T[sampled_indices(len(luma_T), seed, rule)], rule, tau)


def sampled_indices(total: int, seed: int = 0, rule: Rule = "paper") -> list[int]:
    """The eight frames that are judged of a video of `total` frames.

    Videos of fewer than eight frames give some of their frames twice.
    """
    if total < 1:
        raise BadInput("A video without frames has no darkness.")
    if rule == "released":
        segment = total // SEGMENTS
        return [segment * i + segment // 2 for i in range(SEGMENTS)]
    bounds = np.arange(SEGMENTS + 1) * total // SEGMENTS
    stops = np.maximum(bounds[1:], bounds[:-1] + 1)
    return np.random.default_rng(seed).integers(bounds[:-1], stops).tolist()


def mean_luma(frames_THWC: np.ndarray) -> np.ndarray:
    """Eq. 12: the mean luma Y of each frame, float64 [T] in [0, 255].

    Y = 0.299 R + 0.587 G + 0.114 B (BT.601, full range), rounded to 8 bits for each pixel as OpenCV's
    YCrCb conversion does. Takes RGB uint8 [T, H, W, 3].
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise BadInput(f"Frames must be uint8 [T, H, W, 3]; these are {frames_THWC.dtype} {list(frames_THWC.shape)}.")
    return np.array([_mean_luma(frame_HWC.reshape(-1, 3)) for frame_HWC in frames_THWC])


# 14-bit weights, OpenCV's. Every partial sum below 2^24 / 2^14 is exact in float32, so a matrix product,
# several times as fast as integers, gives the same bits; so does their sum over a block.
WEIGHTS = np.array([4899, 9617, 1868], np.float32) / np.float32(2**14)
BLOCK_PX = 2**14
"""Pixels weighed at once; what comes of them stays in the processor's cache, and its sum below 2^24."""


def _mean_luma(pixels_N3: np.ndarray) -> float:
    blocks = (pixels_N3[start : start + BLOCK_PX] for start in range(0, len(pixels_N3), BLOCK_PX))
    return sum(float(_luma(block_N3).sum()) for block_N3 in blocks) / len(pixels_N3)


def _luma(pixels_N3: np.ndarray) -> np.ndarray:
    return np.floor(pixels_N3.astype(np.float32) @ WEIGHTS + np.float32(0.5))


def judge(luma_8: np.ndarray, rule: Rule, tau: float = TAU) -> Darkness:
    """Darkness from the mean luma of the eight frames that the rule samples, [8]."""
    dv_8 = (luma_8 - S_C) / S_C
    dv = float(dv_8.mean())
    is_dark = dv < -tau if rule == "paper" else np.mean(dv_8 < -tau) >= tau
    return Darkness(dv=dv, mean_luma=float(luma_8.mean()), is_dark=bool(is_dark))
