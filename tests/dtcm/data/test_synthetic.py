import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from dtcm.config import DataConfig
from dtcm.data import synthetic
from dtcm.data.decode import read_frames, resize
from dtcm.data.plan import centre_rows
from dtcm.data.sample import ACTIONS
from dtcm.data.transforms import load_clip

LUMA = [0.299, 0.587, 0.114]


def test_a_frame_is_the_same_among_any_others():
    video = synthetic.address(3, 7)
    together = synthetic.draw_frames(video, [0, 9, 4, 9])
    assert together.shape == (4, 240, 320, 3)
    assert together.dtype == np.uint8
    assert np.array_equal(together[1], together[3])
    assert np.array_equal(together[2], synthetic.draw_frames(video, [4])[0])
    assert not np.array_equal(together[1], together[2])


def test_an_address_shows_the_same_in_every_process():
    draw = "import sys; from dtcm.data.synthetic import *; sys.stdout.buffer.write(draw_frames(address(5, 12), [30]))"
    other = subprocess.run([sys.executable, "-c", draw], check=True, stdout=subprocess.PIPE).stdout
    here = synthetic.draw_frames(synthetic.address(5, 12), [30]).tobytes()
    assert hashlib.sha256(other).digest() == hashlib.sha256(here).digest()


@pytest.mark.parametrize("other", [(0, 1), (1, 0), (0, 11)])
def test_another_number_or_seed_shows_something_else(other):
    first, second = (synthetic.draw_frames(synthetic.address(*key), [20])[0].astype(int) for key in ((0, 0), other))
    assert np.abs(first - second).mean() > 1


def test_every_class_comes_equally_often():
    assert synthetic.ACTIONS == ACTIONS
    assert set(Counter(synthetic.label(number) for number in range(50, 50 + 110)).values()) == {10}


def test_lengths_vary_and_the_last_frame_is_there():
    counts = [synthetic.frame_count(0, number) for number in range(300)]
    assert 33 <= min(counts) < 45
    assert 90 < max(counts) <= 105
    synthetic.draw_frames(synthetic.address(0, 0), [counts[0] - 1])
    with pytest.raises(IndexError):
        synthetic.draw_frames(synthetic.address(0, 0), [counts[0]])


@pytest.fixture(scope="module")
def pairs():
    """Two frames, 0.6 s apart, of two videos of each class."""
    return [synthetic.draw_frames(synthetic.address(0, number), [0, 18]) for number in range(22)]


def test_videos_are_dark_as_arids_some_more_than_others(pairs):
    luma = [float((frames @ LUMA).mean()) for frames in pairs]
    assert 2 < min(luma) < 8
    assert 10 < np.median(luma) < 25
    assert 25 < max(luma) < 60


def test_people_move_and_so_may_the_camera(pairs):
    changed = [(np.abs(np.diff(frames.astype(int), axis=0)) > 10).mean() for frames in pairs]
    assert np.count_nonzero(np.array(changed) > 0.005) > 17
    assert max(changed) > 0.1


def test_it_is_read_like_a_file():
    data = DataConfig(frames=4, stride=5, width_px=80, height_px=60, crop_px=48)
    video, row = synthetic.address(2, 3), centre_rows((synthetic.frame_count(2, 3),), data)[0]
    small = read_frames(video, row.frames, (80, 60))
    assert np.array_equal(small, resize(synthetic.draw_frames(video, row.frames), (80, 60)))
    assert np.array_equal(load_clip(video, row, data), small[:, 6:54, 16:64])
