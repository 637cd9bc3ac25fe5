"""A whole video brightened by a model's enhancer and written as H.264."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from dtcm.data.decode import Source, UnreadableVideo, decode_all, probe
from dtcm.models.dtcm import DTCM, to_model_input

PIXELS = 2**22
"""Pixels that are brightened at once: 54 frames of 320x240, two of 1080p, and never less than a group of k."""
OPTIONS = {"crf": "18", "preset": "fast"}
"""Of x264: hardly any loss that can be seen."""


def write_enhanced(model: DTCM, source: Source, target: Path) -> int:
    """Write a video as the model's enhancer brightens it, without sound; returns its frames.

    Groups of k frames share a curve from the first frame on, as in a clip that is the whole video. Raises
    UnreadableVideo, also for frames of a single row or column, which H.264 does not have.
    """
    info = probe(source)
    if min(info.height_px, info.width_px) < 2:
        reason = f"its frames of {info.width_px}x{info.height_px} are too small for H.264"
        raise UnreadableVideo(reason, "" if isinstance(source, bytes) else str(source), "zero-sized")
    rate = Fraction(info.fps or 25).limit_denominator(1001)
    together = model.k * max(1, PIXELS // (info.height_px * info.width_px * model.k))
    enhanced = (enhance(model, frames_THWC) for frames_THWC in regrouped(decode_all(source), together))
    return write_h264(target, enhanced, rate)


def enhance(model: DTCM, frames_THWC: np.ndarray) -> np.ndarray:
    """RGB frames uint8 [T, H, W, 3] brightened, T a multiple of k or the end of a video."""
    clip_BCTHW = to_model_input(torch.tensor(frames_THWC[None]), next(model.parameters()).device)
    with torch.inference_mode():
        enhanced_CTHW = model.enhancer(clip_BCTHW, model.k).clip[0]
    return (enhanced_CTHW * 255).round().clamp(0, 255).byte().permute(1, 2, 3, 0).cpu().numpy()


def regrouped(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The frames of chunks of any length in chunks of `size`, the last perhaps shorter."""
    kept: list[np.ndarray] = []
    for chunk in chunks:
        kept.append(chunk)
        if sum(map(len, kept)) >= size:
            frames_THWC = np.concatenate(kept)
            whole = len(frames_THWC) // size * size
            yield from np.split(frames_THWC[:whole], whole // size)
            kept = [frames_THWC[whole:].copy()] if whole < len(frames_THWC) else []
    if kept:
        yield np.concatenate(kept)


def write_h264(target: Path, chunks: Iterable[np.ndarray], rate: Fraction) -> int:
    """Write RGB uint8 [T, H, W, 3] chunks as H.264 in yuv420p; an odd last row or column is left out."""
    count = 0
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=OPTIONS)
        stream.pix_fmt = "yuv420p"
        for frames_THWC in chunks:
            height, width = (side // 2 * 2 for side in frames_THWC.shape[1:3])
            stream.height, stream.width = height, width
            for picture_HWC in frames_THWC[:, :height, :width]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), "rgb24")))
                count += 1
        container.mux(stream.encode())
    return count
