"""From a video and a row of the plan to the classifier's input (Sec. IV).

Training, validation, test and prediction all read their clips by `load_clip`, so what is learnt is
what is tested. Clips stay uint8 until they are on the device.
"""

import numpy as np
import torch

from dtcm.config import DataConfig
from dtcm.data.clips import check as check  # the early check of what load_clip will be asked for
from dtcm.data.decode import Source, read_frames
from dtcm.data.plan import PlanRow


def load_clip(source: Source, row: PlanRow, data: DataConfig) -> np.ndarray:
    """The clip of a plan's row: decoded, resized, cropped and, where the row says so, mirrored.

    Returns RGB uint8 [T, crop, crop, 3]. Raises UnreadableVideo.
    """
    frames_THWC = read_frames(source, row.frames, size=(data.width_px, data.height_px))
    return crop_and_flip(frames_THWC, row.x_px, row.y_px, data.crop_px, row.flip)


def crop_and_flip(frames_THWC: np.ndarray, x_px: int, y_px: int, side_px: int, flip: bool) -> np.ndarray:
    """The square whose upper left corner is (x, y), mirrored left to right if `flip`; contiguous."""
    clip = frames_THWC[:, y_px : y_px + side_px, x_px : x_px + side_px]
    return np.ascontiguousarray(clip[:, :, ::-1] if flip else clip)


def to_model_input(batch_BTHWC: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """uint8 [B, T, H, W, 3] to float32 [B, 3, T, H, W] in [0, 1] on the device; it travels as uint8."""
    clip_BCTHW = batch_BTHWC.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).contiguous()
    return clip_BCTHW.float().div_(255)
