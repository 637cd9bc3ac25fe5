"""Crops, flips and the way to the model."""

import numpy as np
import pytest
import torch

from dtcm.config import DataConfig
from dtcm.data.decode import read_frames
from dtcm.data.plan import PlanRow
from dtcm.data.transforms import crop_and_flip, load_clip, to_model_input

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


def test_bytes_and_path_give_the_same_clip(noisy_video):
    some = row([3, 4, 5, 6, 7], 2, 3, False)
    assert np.array_equal(load_clip(noisy_video, some, DATA), load_clip(noisy_video.read_bytes(), some, DATA))


def test_model_input_is_unit_range_channels_first():
    batch = torch.randint(0, 256, (2, 5, 4, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch[0, 0, 0, 0], batch[1, 4, 3, 5] = torch.tensor([0, 128, 255]), torch.tensor([255, 1, 0])
    clip = to_model_input(batch, "cpu")
    assert clip.shape == (2, 3, 5, 4, 6)
    assert clip.dtype == torch.float32
    assert clip.is_contiguous()
    assert clip[0, :, 0, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])
    assert clip[1, :, 4, 3, 5].tolist() == pytest.approx([1, 1 / 255, 0])
    assert torch.equal((clip * 255).round().byte().permute(0, 2, 3, 4, 1), batch)
