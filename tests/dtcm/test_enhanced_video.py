from fractions import Fraction

import av
import numpy as np
import pytest

from dtcm.config import ModelConfig
from dtcm.data.decode import read_frames
from dtcm.enhanced_video import enhance, regrouped, write_enhanced, write_h264
from dtcm.models import build


@pytest.fixture(scope="module")
def model():
    return build(ModelConfig(classifier="small3d"), 2, 8, 24).eval()


def test_frames_are_regrouped_without_loss():
    frames = np.arange(23)[:, None]
    found = list(regrouped(np.split(frames, [2, 11, 12]), 4))
    assert [len(group) for group in found] == [4, 4, 4, 4, 4, 3]
    assert np.array_equal(np.concatenate(found), frames)


def test_parts_of_whole_groups_are_brightened_as_the_whole_video(model):
    frames = np.random.default_rng(0).integers(0, 60, (11, 20, 24, 3), dtype=np.uint8)
    parts = np.concatenate([enhance(model, part) for part in np.split(frames, [4, 8])])
    assert np.abs(parts.astype(int) - enhance(model, frames)).max() <= 1  # rounding of the same floats


def test_a_brightened_video_is_h264_of_as_many_frames_at_the_same_rate(model, tiny_root, tmp_path):
    source, target = next(tiny_root.rglob("*.mp4")), tmp_path / "bright.mp4"
    count = write_enhanced(model, str(source), target)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 30)
    found = read_frames(str(target), range(count))
    expected = enhance(model, read_frames(str(source), range(count)))
    assert np.abs(found.astype(int) - expected).mean() < 6  # what x264 and 4:2:0 cost on noise


def test_an_odd_side_loses_its_last_line(tmp_path):
    write_h264(tmp_path / "odd.mp4", [np.zeros((3, 31, 45, 3), np.uint8)], Fraction(30))
    assert read_frames(str(tmp_path / "odd.mp4"), [0]).shape == (1, 30, 44, 3)
