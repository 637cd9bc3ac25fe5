"""Frame indices by hand."""

import numpy as np
import pytest

from dtcm.config import DataConfig
from dtcm.data.clips import centre_start, check, clip_indices, random_start
from dtcm.errors import BadInput


@pytest.mark.parametrize(
    ("total", "frames", "stride", "start", "expected"),
    [
        (10, 4, 1, 3, [3, 4, 5, 6]),
        (10, 4, 3, 0, [0, 3, 6, 9]),
        (3, 7, 1, 0, [0, 1, 2, 0, 1, 2, 0]),
        (5, 4, 2, 0, [0, 2, 4, 1]),
        (1, 3, 2, 0, [0, 0, 0]),
    ],
)
def test_clips_are_contiguous_and_loop(total, frames, stride, start, expected):
    assert clip_indices(total, frames, stride, start) == expected


@pytest.mark.parametrize(
    ("total", "frames", "stride", "expected"),
    [(64, 64, 1, 0), (66, 64, 1, 1), (100, 64, 1, 18), (101, 16, 6, 5), (30, 64, 1, 0), (10, 4, 3, 0)],
)
def test_the_central_clip_leaves_as_much_on_both_sides(total, frames, stride, expected):
    assert centre_start(total, frames, stride) == expected


@pytest.mark.parametrize(
    ("total", "frames", "stride", "last"), [(12, 4, 1, 8), (12, 4, 3, 2), (4, 4, 1, 0), (3, 4, 1, 0)]
)
def test_random_starts_reach_all_clips_that_fit_and_no_other(total, frames, stride, last):
    rng = np.random.default_rng(0)
    starts = {random_start(total, frames, stride, rng) for _ in range(300)}
    assert starts == set(range(last + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [("crop_px", 241), ("crop_px", 0), ("frames", 0), ("stride", 0), ("width_px", 111), ("centre_px", -1)],
)
def test_impossible_clips_are_refused(field, value):
    check(DataConfig())
    with pytest.raises(BadInput, match=r"crop_px|frames|stride|width_px|centre_px"):
        check(DataConfig(**{field: value}))
