"""From a video and a row of the plan to a clip (Sec. IV).

Training, validation, test and prediction all read their clips by `load_clip`, so what is learnt is
what is tested. Clips stay uint8 until they are on the device (`dtcm.models.dtcm.to_model_input`).
"""

import numpy as np

from dtcm.config import DataConfig
from dtcm.data.clips import check as check  # the early check of what load_clip will be asked for
from dtcm.data.decode import Source, read_frames, resize
from dtcm.data.plan import PlanRow


def load_clip(source: Source, row: PlanRow, data: DataConfig, whole_THWC: np.ndarray | None = None) -> np.ndarray:
    """The clip of a plan's row: decoded, cut to its centre if so configured, resized, cropped and perhaps mirrored.

    Returns RGB uint8 [T, crop, crop, 3]. With all frames of the video at hand, `resized`, nothing is decoded.
    Raises UnreadableVideo.
    """
    if whole_THWC is not None:
        crop_THWC = whole_THWC[:, row.y_px : row.y_px + data.crop_px, row.x_px : row.x_px + data.crop_px]
        return crop_and_flip(crop_THWC[np.array(row.frames)], 0, 0, data.crop_px, row.flip)
    if data.centre_px:
        frames_THWC = resized(read_frames(source, row.frames), data)
    else:
        frames_THWC = read_frames(source, row.frames, (data.width_px, data.height_px))
    return crop_and_flip(frames_THWC, row.x_px, row.y_px, data.crop_px, row.flip)


def resized(frames_THWC: np.ndarray, data: DataConfig) -> np.ndarray:
    """Frames as decoded in the size that clips are cropped from, of their centre if so configured."""
    frames_THWC = centre_square(frames_THWC, data.centre_px) if data.centre_px else frames_THWC
    return resize(frames_THWC, (data.width_px, data.height_px))


def centre_square(frames_THWC: np.ndarray, side_px: int) -> np.ndarray:
    """The square of that side in the middle of each frame; of a smaller frame, the largest square in it."""
    height, width = frames_THWC.shape[1:3]
    side = min(side_px, height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return frames_THWC[:, y : y + side, x : x + side]


def crop_and_flip(frames_THWC: np.ndarray, x_px: int, y_px: int, side_px: int, flip: bool) -> np.ndarray:
    """The square whose upper left corner is (x, y), mirrored left to right if `flip`; contiguous."""
    clip = frames_THWC[:, y_px : y_px + side_px, x_px : x_px + side_px]
    return np.ascontiguousarray(clip[:, :, ::-1] if flip else clip)
