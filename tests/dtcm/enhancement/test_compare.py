"""The numbers of Table XI's columns for small videos."""

import statistics

import pytest
import torch

from dtcm.config import DataConfig
from dtcm.data.decode import probe, read_frames
from dtcm.enhancement import METHODS, gic
from dtcm.enhancement.compare import central_clip, compare, measure
from dtcm.losses import spatio_temporal_consistency

DATA = DataConfig(frames=4, width_px=40, height_px=30, crop_px=24)


@pytest.fixture(scope="module")
def videos(tiny_root):
    return [str(path) for path in sorted(tiny_root.rglob("*.mp4"))[:3]]


def test_measure_is_eq_4_and_the_time_of_a_frame(dark_clip):
    inconsistency, ms_per_frame = measure(METHODS["gic"](), dark_clip)
    assert inconsistency == pytest.approx(spatio_temporal_consistency(dark_clip**0.1, dark_clip).item(), rel=1e-5)
    assert ms_per_frame > 0
    assert measure(METHODS["none"](), dark_clip).inconsistency == 0


def test_the_clip_is_the_one_that_is_tested(videos):
    start = (probe(videos[0]).frames - 4) // 2
    frames = torch.from_numpy(read_frames(videos[0], range(start, start + 4), size=(40, 30)))
    expected = frames[:, 3:27, 8:32].permute(3, 0, 1, 2)[None] / 255
    assert torch.equal(central_clip(videos[0], DATA), expected)


def test_rows_are_means_over_videos_in_the_order_of_the_methods(videos):
    rows = compare(videos, {"gic": "", "none": "", "bimef": ""}, DATA)
    assert [row.method for row in rows] == ["gic", "none", "bimef"]
    assert [row.paper for row in rows] == [0.08, None, 0.45]
    clips = [central_clip(video, DATA) for video in videos]
    expected = statistics.fmean(spatio_temporal_consistency(gic(clip), clip).item() for clip in clips)
    assert rows[0].inconsistency == pytest.approx(expected)
    assert rows[1].inconsistency == 0
