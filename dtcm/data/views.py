"""Which clips of a video are judged: the central one (the paper's test), several views of it, or windows along it.

Pure integers. One clip, centre-cropped, is what Sec. IV tests on; several clips and crops whose probabilities are
averaged are the usual other protocol (Wang et al., "Non-local neural networks", CVPR 2018: 10 clips, 3 crops).
"""

from dataclasses import dataclass

import numpy as np

from dtcm.config import DataConfig
from dtcm.data.clips import centre_start, clip_indices
from dtcm.data.plan import PlanRow, centre_rows
from dtcm.errors import BadInput


@dataclass(frozen=True)
class Views:
    """Clips and crops of a video, over which probabilities are averaged."""

    clips: int = 1
    """Clips, spread evenly over the video. 1: the central one (paper)."""
    crops: int = 1
    """Square crops of each clip, spread evenly along the longer side of the frame. 1: the central one (paper)."""

    def __post_init__(self) -> None:
        if self.clips < 1 or self.crops < 1:
            raise BadInput(f"Clips and crops of a test must be 1 or more; they are {self.clips} and {self.crops}.")

    @property
    def count(self) -> int:
        """Views of a video."""
        return self.clips * self.crops


def view_row(total: int, data: DataConfig, views: Views, number: int) -> PlanRow:
    """View `number` of a video of `total` frames: the crops of the first clip, those of the second, ..."""
    centre = centre_rows((total,), data)[0]
    clip, crop = divmod(number, views.crops)
    last = max(0, total - (data.frames - 1) * data.stride - 1)
    start = _spread(last, views.clips, clip) if views.clips > 1 else centre_start(total, data.frames, data.stride)
    x_px, y_px = centre.x_px, centre.y_px
    if views.crops > 1 and data.width_px >= data.height_px:
        x_px = _spread(data.width_px - data.crop_px, views.crops, crop)
    elif views.crops > 1:
        y_px = _spread(data.height_px - data.crop_px, views.crops, crop)
    frames = tuple(clip_indices(total, data.frames, data.stride, start))
    return centre._replace(frames=frames, x_px=x_px, y_px=y_px)


def windows(total: int, data: DataConfig, hop: int) -> list[int]:
    """First frames of the clips along a video, `hop` frames apart, the last one flush with its end.

    hop 0 gives the central clip alone. A video shorter than a clip has one window, which loops.
    """
    if hop < 0:
        raise BadInput(f"Windows lie a number of frames apart, 1 or more (0: only the central clip), not {hop}.")
    if hop == 0:
        return [centre_start(total, data.frames, data.stride)]
    last = max(0, total - (data.frames - 1) * data.stride - 1)
    return [*range(0, last, hop), last]


def _spread(last: int, count: int, number: int) -> int:
    """Place `number` of `count` that are spread evenly over 0 to `last`, both included."""
    return int(np.floor(number * last / (count - 1) + 0.5))
