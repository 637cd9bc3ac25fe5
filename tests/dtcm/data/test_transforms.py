"""Crops and flips of clips."""

import numpy as np
import pytest
import torch

from dtcm.config import DataConfig
from dtcm.data.decode import read_frames, resize
from dtcm.data.plan import PlanRow
from dtcm.data.transforms import centre_square, crop_and_flip, load_clip

DATA = DataConfig(frames=5, width_px=50, height_px=40, crop_px=16)


def row(frames, x_px, y_px, flip):
    return PlanRow(step=0, slot=0, video=0, frames=tuple(frames), x_px=x_px, y_px=y_px, flip=flip)


def test_crop_and_flip_by_hand():
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    crop = crop_and_flip(frames, 1, 1, 2, flip=False)
    assert crop.tolist() == [[[frames[t, y, x].tolist() for x in (1, 2)] for y in (1, 2)] for t in (0, 1)]
    mirrored = crop_and_flip(frames, 1, 1, 2, flip=True)
    assert mirrored.tolist() == [[[frames[t, y, x].tolist() for x in (2, 1)] for y in (1, 2)] for t in (0, 1)]
    assert crop.flags.c_contiguous
    assert mirrored.flags.c_contiguous


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("x_px", "y_px"), [(0, 0), (34, 24), (7, 11)])
def test_a_clip_is_the_resized_frames_cropped(noisy_video, x_px, y_px, flip):
    clip = load_clip(noisy_video, row([8, 9, 10, 11, 0], x_px, y_px, flip), DATA)
    expected = read_frames(noisy_video, [8, 9, 10, 11, 0], (50, 40))[:, y_px : y_px + 16, x_px : x_px + 16]
    assert clip.shape == (5, 16, 16, 3)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip, expected[:, :, ::-1] if flip else expected)
    assert not np.array_equal(clip, clip[:, :, ::-1]), "the picture is its own mirror image, so this shows nothing"


@pytest.mark.parametrize("size", [32, 24])
def test_a_centre_is_cut_before_anything_is_resized(noisy_video, size):
    data = DataConfig(frames=3, centre_px=32, width_px=size, height_px=size, crop_px=16)
    clip = load_clip(noisy_video, row([2, 3, 4], 5, 6, False), data)
    centre = read_frames(noisy_video, [2, 3, 4])[:, 24:56, 34:66]
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(centre).permute(0, 3, 1, 2).double(), size=(size, size), mode="bilinear", antialias=True
    ).permute(0, 2, 3, 1)[:, 6:22, 5:21]  # fmt: skip
    assert clip.shape == (3, 16, 16, 3)
    assert np.abs(clip - expected.numpy()).max() <= (0 if size == 32 else 1)


@pytest.mark.parametrize(
    ("height", "width", "side", "square"),
    [
        (480, 640, 128, (176, 304, 256, 384)),
        (9, 8, 5, (2, 7, 1, 6)),
        (80, 100, 128, (0, 80, 10, 90)),
        (100, 80, 90, (10, 90, 0, 80)),
    ],
)
def test_the_centre_of_a_frame_and_of_one_that_is_too_small(height, width, side, square):
    frames = np.arange(height * width, dtype=np.int32).reshape(1, height, width, 1)
    top, bottom, left, right = square
    assert np.array_equal(centre_square(frames, side), frames[:, top:bottom, left:right])


def test_resizing_here_and_while_reading_is_the_same(noisy_video):
    frames = read_frames(noisy_video, [1, 2])
    assert np.array_equal(resize(frames, (50, 40)), read_frames(noisy_video, [1, 2], (50, 40)))
    assert resize(frames, (100, 80)) is frames


def test_bytes_and_path_give_the_same_clip(noisy_video):
    some = row([3, 4, 5, 6, 7], 2, 3, False)
    assert np.array_equal(load_clip(noisy_video, some, DATA), load_clip(noisy_video.read_bytes(), some, DATA))
