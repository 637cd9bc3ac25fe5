"""Video files to RGB frames; the only importer of the decoder.

decord decodes, with one thread, from the first frame on and never by a seek: behind a seek it returns
other frames than were asked for, in AVI files with several keyframes and wherever groups of pictures
are open, and short clips are decoded nearly whole anyway. Resizing follows decoding, because decoders
resize each in their own way. PyAV tells what only the container knows: codec and rotation.
"""

import io
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import av
import decord
import numpy as np
import torch
from av.container import InputContainer
from torch.nn.functional import interpolate

from dtcm.errors import BadInput

Source: TypeAlias = str | Path | bytes
"""A path on this machine, or the content of a file."""

CHUNK_BYTES = 64 * 2**20
"""Frames are decoded in chunks of at most this size, so that no video fills the memory."""

DECODER_ERRORS = (decord.DECORDError, av.FFmpegError, RuntimeError, IndexError, ValueError, OSError, StopIteration)

decord.logging.set_level(decord.logging.QUIET)


class UnreadableVideo(BadInput):
    """A video that cannot be decoded as it should; `reason` says why, without the path."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason, self.path = reason, path

    def __str__(self) -> str:
        return f"{self.path or 'The video'} cannot be read: {self.reason}."


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; `decode_all` proves it."""

    width_px: int
    """As decoded, that is after rotation."""
    height_px: int
    fps: float
    frames: int
    """Frames that can be asked for."""
    duration_s: float
    """frames / fps."""
    codec: str
    """FFmpeg's name, such as "h264"."""
    rotation_deg: int
    """Counter-clockwise turn that the container asks for, in [0, 360); decoded frames have it applied."""


def read_frames(source: Source, indices: Sequence[int], size: tuple[int, int] | None = None) -> np.ndarray:
    """The frames at the given indices, in the order given; an index may occur twice.

    Returns RGB uint8 [T, H, W, 3], resized to `size` = (width, height) if given: bilinear with
    antialiasing, on uint8. Raises UnreadableVideo, also where the video has fewer frames than asked for,
    and ValueError for no index or a negative one.
    """
    unique, order = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    if unique.size == 0 or unique[0] < 0:
        raise ValueError(f"frame indices must be a non-empty sequence of non-negative integers, not {indices}")
    last = int(unique[-1])
    with _unreadable(source):
        reader = _open(source)
        if last >= len(reader):
            raise UnreadableVideo(f"it has {len(reader)} frames, and frame {last} is asked for", _path(source))
        kept, start = [], 0
        for chunk in _chunks(reader, last + 1):
            wanted = unique[(unique >= start) & (unique < start + len(chunk))] - start
            if wanted.size:
                kept.append(_resized(chunk[wanted], size))
            start += len(chunk)
    return np.concatenate(kept)[order]


def decode_all(source: Source) -> Iterator[np.ndarray]:
    """Every frame of a video, as RGB uint8 [n, H, W, 3] chunks of at most 64 MiB.

    A video that comes to its end here can be read: raises UnreadableVideo where any frame fails.
    """
    with _unreadable(source):
        reader = _open(source)
        yield from _chunks(reader, len(reader))


def probe(source: Source) -> VideoInfo:
    """What the file says of itself, its first frame decoded. Raises UnreadableVideo."""
    with _unreadable(source):
        reader = _open(source)
        frames, fps = len(reader), reader.get_avg_fps()
        height, width = next(_chunks(reader, 1)).shape[1:3]
        with _container(source) as container:
            # decord decodes the largest stream.
            stream = max(container.streams.video, key=lambda stream: stream.width * stream.height)
            codec = stream.codec_context.codec.canonical_name
            rotation_deg = next(container.decode(stream)).rotation % 360
    return VideoInfo(width, height, fps, frames, frames / fps if fps > 0 else 0.0, codec, rotation_deg)


def _open(source: Source) -> decord.VideoReader:
    """A reader; it survives neither fork nor pickling, so it is opened where it is used and dropped there."""
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UnreadableVideo("there is no such file", _path(source))
    if (len(source) if isinstance(source, bytes) else Path(source).stat().st_size) == 0:
        raise UnreadableVideo("the file is empty", _path(source))
    if isinstance(source, bytes):
        _container(source).close()  # raises for what is no video, which decord would print in full
    return decord.VideoReader(_stream(source), ctx=decord.cpu(0), num_threads=1)


def _chunks(reader: decord.VideoReader, stop: int) -> Iterator[np.ndarray]:
    """Frames 0 to stop - 1, without a gap, so that the decoder never seeks."""
    first = _frames(reader, 0, 1)
    yield first
    step = max(1, CHUNK_BYTES // first.nbytes)
    for start in range(1, stop, step):
        yield _frames(reader, start, min(start + step, stop))


def _frames(reader: decord.VideoReader, start: int, stop: int) -> np.ndarray:
    frames_THWC = reader.get_batch(range(start, stop)).asnumpy()
    if frames_THWC.shape[-1] != 3:
        raise ValueError(f"{list(frames_THWC.shape[1:])} is no frame; widths of 32 px and less cannot be decoded")
    return frames_THWC


def _resized(frames_THWC: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or size == (frames_THWC.shape[2], frames_THWC.shape[1]):
        return frames_THWC
    width, height = size
    frames_NCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)
    return interpolate(frames_NCHW, size=(height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()


def _container(source: Source) -> InputContainer:
    return av.open(_stream(source), "r")


def _stream(source: Source) -> io.BytesIO | str:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def _path(source: Source) -> str:
    return "" if isinstance(source, bytes) else str(source)


@contextmanager
def _unreadable(source: Source) -> Generator[None]:
    """Turns whatever a decoder raises into UnreadableVideo with a reason that a user understands."""
    try:
        yield
    except UnreadableVideo:
        raise
    except DECODER_ERRORS as error:
        raise UnreadableVideo(_reason(source, error), _path(source)) from error


def _reason(source: Source, error: Exception) -> str:
    try:
        with _container(source) as container:
            if not container.streams.video:
                return "the file has no video stream"
    except DECODER_ERRORS:
        return "the file is not a video, or a part of it is cut off"
    # decord puts the time and its own source line before every message.
    message = re.sub(r"\[[\d:]+\] \S+?:\d+: ", "", str(error))
    return "the decoder fails: " + " ".join(message.split())[:300].rstrip(".")
