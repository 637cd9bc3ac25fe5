"""A video's fingerprint, by which re-encoded copies are found: perceptual hashes of background and motion.

After Zauner's pHash (2010): signs of the low frequencies of a discrete cosine transform of 32x32 luma.
Hashes of whole frames call different clips of one dark, static scene copies of each other, since the
scene is all that they see. So the mean of the frames is hashed once, as background, and what differs from
it in each eighth of the video as motion. Measured on 150 clips of ARID in six classes; figures at `copies`.
"""

from collections.abc import Sequence

import numpy as np

from dtcm.data.frames import Viewer
from dtcm.errors import BadInput

SAMPLES = 24
"""Frames that are looked at. With eight, one to a window, a tenth more of the copies with cut ends is missed."""
WINDOWS = 8
SIDE = 32
WORDS = 1 + WINDOWS
"""Hashes of a fingerprint: background and motion."""
BITS = 64
"""Frequencies that are kept, which is bits of a hash."""
STRUCTURE = 0.05
"""Root mean square, in levels of 8-bit luma, below which a pattern is noise and its hash 0: it matches nothing."""

BACKGROUND_BITS = 10
"""Bits of BITS in which the backgrounds of copies differ at most."""
MOTION_BITS = 96
"""Bits of WINDOWS x BITS in which the motion of copies differs at most: three in sixteen."""

PAIRS_AT_ONCE = 2**20
"""Pairs that are compared at a time, so that the memory needed stays below about half a GiB."""

_ORDER = sorted(((u, v) for u in range(11) for v in range(11)), key=lambda uv: (sum(uv), uv))[1 : BITS + 1]
_ROWS, _COLUMNS = (np.array(axis) for axis in zip(*_ORDER, strict=True))
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(11), np.arange(SIDE) + 0.5)) * np.sqrt(2 / SIDE)
_COSINES[0] *= np.sqrt(0.5)


def fingerprint_indices(total: int) -> list[int]:
    """The frames that a fingerprint is made of: the middles of SAMPLES equal parts of a video of `total` frames."""
    return [(2 * i + 1) * total // (2 * SAMPLES) for i in range(SAMPLES)]


def fingerprint(frames_THWC: np.ndarray) -> np.ndarray:
    """The fingerprint of a video from its frames at `fingerprint_indices`, RGB uint8 [T, H, W, 3].

    Returns uint64 [9]: the hash of the background, then of the motion in each eighth. 0 stands for
    nothing to be seen, as in a black video or one without motion. Raises BadInput for other frames.
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise BadInput(f"Frames must be uint8 [T, H, W, 3]; these are {frames_THWC.dtype} {list(frames_THWC.shape)}.")
    viewer = Viewer()
    return from_thumbnails(np.array([viewer.show(frame_HWC).cells(SIDE) for frame_HWC in frames_THWC]))


def from_thumbnails(thumbnails_T: np.ndarray) -> np.ndarray:
    """`fingerprint` of a video from `Shown.cells(SIDE)` of its frames, [T, 32, 32], so that frames need not be kept."""
    if not len(thumbnails_T) or len(thumbnails_T) % WINDOWS:
        raise BadInput(f"A fingerprint needs frames for {WINDOWS} windows; {len(thumbnails_T)} cannot be divided so.")
    windows_8 = thumbnails_T.reshape(WINDOWS, -1, SIDE, SIDE).mean(axis=1)
    background = windows_8.mean(axis=0)
    patterns = np.concatenate([background[None], windows_8 - background])
    frequencies = (_COSINES @ patterns @ _COSINES.T)[:, _ROWS, _COLUMNS]
    words = (frequencies > 0) @ (np.uint64(1) << np.arange(BITS, dtype=np.uint64))
    return np.where(np.sqrt((frequencies**2).sum(axis=1)) / SIDE < STRUCTURE, np.uint64(0), words)


def is_blind(words: Sequence[int]) -> bool:
    """Whether a fingerprint shows too little to have copies: a black video, or one in which nothing moves."""
    return not words[0] or sum(not word for word in words[1:]) * BITS > MOTION_BITS


def copies(fingerprints_N9: np.ndarray) -> np.ndarray:
    """All pairs of copies among videos: their places, int64 [P, 2], the lower first, from uint64 [N, 9].

    Of 150 clips of ARID that were encoded again as H.264 it finds 97 % at crf 28, 91 % at crf 35, 95 and 98 %
    resized to 160x120 and 224x224, 99 % with two thirds or one and a half times the brightness; 93 to
    96 % where five frames were cut off an end or both, of 69 in the median, and 61 % where the first ten were. What it
    misses is mostly the darkest. Among 224 different videos, 24,976 pairs, it finds none but two that are in both
    ARID v1.0 and v1.5. Mirrored, cropped, rotated and slowed copies, and those of a motionless video, are not found.

    Every pair is looked at: 100,000 videos take about 20 s on a core, longer where many backgrounds agree.
    """
    backgrounds_N = fingerprints_N9[:, 0]
    visible = np.flatnonzero(backgrounds_N)
    found = [np.empty((0, 2), np.int64)]
    rows = max(1, PAIRS_AT_ONCE // max(1, len(visible)))
    for start in range(0, len(visible), rows):
        left, right = visible[start : start + rows], visible[start:]
        near = np.bitwise_count(backgrounds_N[left, None] ^ backgrounds_N[right]) <= BACKGROUND_BITS
        rows_P, columns_P = np.nonzero(near)
        pairs_P2 = np.stack([left[rows_P], right[columns_P]], axis=1)
        pairs_P2 = pairs_P2[pairs_P2[:, 0] < pairs_P2[:, 1]]
        found.append(pairs_P2[_motion_bits(*fingerprints_N9[pairs_P2, 1:].swapaxes(0, 1)) <= MOTION_BITS])
    return np.concatenate(found)


def _motion_bits(left_P8: np.ndarray, right_P8: np.ndarray) -> np.ndarray:
    differing_P8 = np.bitwise_count(left_P8 ^ right_P8).astype(np.int64)
    return np.where((left_P8 == 0) | (right_P8 == 0), BITS, differing_P8).sum(axis=1)
