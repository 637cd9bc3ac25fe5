"""Which frames make a clip: T frames at a fixed stride; shorter videos loop (Sec. IV). Pure integers."""

import numpy as np

from dtcm.config import DataConfig
from dtcm.errors import BadInput


def check(data: DataConfig) -> None:
    """Raises BadInput where no clip can be cut as configured."""
    for name in ("frames", "stride", "width_px", "height_px", "crop_px"):
        if getattr(data, name) < 1:
            raise BadInput(f"data.{name} must be at least 1; it is {getattr(data, name)}.")
    if data.centre_px < 0:
        raise BadInput(f"data.centre_px must not be negative; it is {data.centre_px}.")
    if data.crop_px > min(data.width_px, data.height_px):
        raise BadInput(
            f"A crop of {data.crop_px} px does not fit into frames of {data.width_px}x{data.height_px}; "
            "lower data.crop_px or raise data.width_px and data.height_px."
        )


def clip_indices(total: int, frames: int, stride: int, start: int) -> list[int]:
    """The frame indices of a clip that begins at `start` in a video of `total` frames, modulo `total`.

    clip_indices(total=5, frames=4, stride=2, start=0) is [0, 2, 4, 1].
    """
    return [(start + i * stride) % total for i in range(frames)]


def random_start(total: int, frames: int, stride: int, rng: np.random.Generator) -> int:
    """A start for training, uniform over the clips that fit; 0 where none fits and the video loops."""
    return int(rng.integers(0, _last_start(total, frames, stride) + 1))


def centre_start(total: int, frames: int, stride: int) -> int:
    """The start of the central clip, for testing; 0 where the video loops."""
    return _last_start(total, frames, stride) // 2


def _last_start(total: int, frames: int, stride: int) -> int:
    span = (frames - 1) * stride + 1
    return max(0, total - span)
