"""Video files to RGB frames (docs/decoding.md): what is asked for, exactly, or a reason why not.

PyAV decodes, with one thread. Frames are counted from the first one decoded; a seek is never trusted
further than the times of the packets confirm it. Resizing follows decoding, because decoders resize each
in their own way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from dtcm.data import synthetic
from dtcm.data.container import DECODER_ERRORS, Video, fetch, guarded, opened
from dtcm.data.container import Kind as Kind
from dtcm.data.container import Source as Source
from dtcm.data.container import UnreadableVideo as UnreadableVideo
from dtcm.data.frames import (
    Header,
    NotSought,
    Scan,
    Shown,
    Viewer,
    all_frames,
    decoded,
    header,
    quarter_turns,
    scan,
    sought_frames,
    to_rgb,
)

CHUNK_BYTES = 64 * 2**20
"""Frames are handed on in chunks of at most this size, so that no video fills the memory."""

SOUGHT_FROM = 512
"""A clip that ends before this frame is reached by decoding from the first, one behind it by its packets."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; decoding proves it."""

    width_px: int
    """As decoded, that is after rotation."""
    height_px: int
    fps: float
    """On average; 0 where the file does not tell."""
    frames: int
    """Frames that can be asked for: by `probe`, as the packets promise; by `audit_frames`, as decoded."""
    duration_s: float
    """frames / fps; 0 where fps is."""
    codec: str
    """FFmpeg's name, such as "h264"."""
    rotation_deg: int
    """Counter-clockwise turn that the container asks for, in [0, 360); decoded frames have it applied."""
    announced_frames: int | None
    """Frames by the header; None where it says nothing."""


Look: TypeAlias = tuple[Callable[[int], Sequence[int]], Callable[[Shown], Any]]
"""Which frames of a video of so many to look at, and what to keep of each."""


class Audited(NamedTuple):
    """A video of which every frame was decoded."""

    info: VideoInfo
    """With the number of frames that there are."""
    sampled: np.ndarray
    """The frames asked for, RGB uint8 [T, H, W, 3]."""


def read_frames(source: Source, indices: Sequence[int], size: tuple[int, int] | None = None) -> np.ndarray:
    """The frames at the given indices, in the order given; an index may occur twice.

    Returns RGB uint8 [T, H, W, 3], in `size` = (width, height) if given, see `resize`. Frames of a synthetic
    video are drawn. Raises UnreadableVideo, also where the video has fewer frames than asked for, and
    ValueError for no index or a negative one.
    """
    unique, order = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    if unique.size == 0 or unique[0] < 0:
        raise ValueError(f"frame indices must be a non-empty sequence of non-negative integers, not {indices}")
    if isinstance(source, str) and synthetic.is_synthetic(source):
        drawn_THWC = synthetic.draw_frames(source, indices)
        return resize(drawn_THWC, size) if size else drawn_THWC
    video = fetch(source)
    with guarded(video.path):
        frames_THWC = _sought(video, lambda _: indices, size) if unique[-1] >= SOUGHT_FROM else None
        if frames_THWC is None:
            frames_THWC = _in_order(_gather(_picked(video, unique.tolist()), size), order)
    return frames_THWC


def resize(frames_THWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames resized to (width, height): bilinear with antialiasing, on uint8."""
    width, height = size
    if frames_THWC.shape[1:3] == (height, width):
        return frames_THWC
    import torch  # not above: it takes 2 s and 200 MB of who resizes nothing, as the index's many processes
    from torch.nn.functional import interpolate

    frames_NCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
    return interpolate(frames_NCHW, size=(height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()


def decode_all(source: Source) -> Iterator[np.ndarray]:
    """Every frame of a video, as RGB uint8 [n, H, W, 3] chunks of at most 64 MiB.

    A video that comes to its end here can be read: raises UnreadableVideo where any frame fails.
    """
    video = fetch(source)
    with guarded(video.path):
        yield from _chunks(all_frames(video))


def probe(source: Source) -> VideoInfo:
    """What the file says of itself, its first frame decoded. Raises UnreadableVideo, also where the end is cut off."""
    video = fetch(source)
    with guarded(video.path):
        found = _scan(video)
        return _info(found.header, next(all_frames(video)), found.frames)


def audit_frames(source: Source, indices_of: Callable[[int], Sequence[int]]) -> Audited:
    """Decodes every frame and keeps those that `indices_of(frames of the video)` names, in that order.

    One pass; a second where the packets promise another number of frames than there are. Raises UnreadableVideo.
    """
    info, (frames,) = audit_looks(source, [(indices_of, Shown.rgb)])
    return Audited(info, np.stack(frames))


def audit_looks(source: Source, looks: Sequence[Look]) -> tuple[VideoInfo, list[list[Any]]]:
    """As `audit_frames`, keeping of the frames only what the looks make of them: a list for each look."""
    video = fetch(source)
    with guarded(video.path):
        return _audit(video, looks)


def sample_frames(source: Source, indices_of: Callable[[int], Sequence[int]]) -> np.ndarray:
    """The frames that `audit_frames` keeps, with as little as possible of the video decoded.

    What is not decoded is not proven: a video that fails elsewhere passes.
    """
    video = fetch(source)
    with guarded(video.path):
        frames_THWC = _sought(video, indices_of, size=None)
        return np.stack(_audit(video, [(indices_of, Shown.rgb)])[1][0]) if frames_THWC is None else frames_THWC


def _audit(video: Video, looks: Sequence[Look]) -> tuple[VideoInfo, list[list[Any]]]:
    with opened(video) as (container, stream), closing(decoded(video, container, stream)) as frames:
        said, count = header(container, stream), 0
        promised = stream.frames or _scan(video).frames  # where the container does not say, its packets do
        kept = _Kept(looks, promised)
        for frame in frames:
            kept.look(count, frame)
            count += 1
    if count != promised:
        kept = _Kept(looks, count)
        numbers = sorted(kept.wanted)
        for number, again in zip(numbers, _picked(video, numbers), strict=True):
            kept.look(number, again)
    return _info(said, frame, count), kept.in_order()


class _Kept:
    """What looks have made of the frames that they name for a video of `total` frames."""

    def __init__(self, looks: Sequence[Look], total: int) -> None:
        self.looks = [(indices_of(total), look) for indices_of, look in looks]
        self.wanted = {index for indices, _ in self.looks for index in indices}
        self.found: list[dict[int, Any]] = [{} for _ in looks]
        self.viewer = Viewer()

    def look(self, number: int, frame: av.VideoFrame) -> None:
        if number not in self.wanted:
            return
        for (indices, look), found in zip(self.looks, self.found, strict=True):
            if number in indices:
                found[number] = look(self.viewer.show(frame))

    def in_order(self) -> list[list[Any]]:
        return [[found[i] for i in indices] for (indices, _), found in zip(self.looks, self.found, strict=True)]


def _sought(
    video: Video, indices_of: Callable[[int], Sequence[int]], size: tuple[int, int] | None
) -> np.ndarray | None:
    """The frames of these numbers by the times of their packets; None if that does not lead to them."""
    with opened(video) as (container, stream):
        found = scan(video, container, stream)
        unique, order = np.unique(indices_of(found.frames), return_inverse=True)
        for way in (found, replace(found, keys=found.keys[:1], leaps=False)):
            with suppress(NotSought, *DECODER_ERRORS):  # decoding all gives the frames, or the reason why not
                return _in_order(_gather(sought_frames(video, container, stream, way, unique.tolist()), size), order)
    return None


def _picked(video: Video, wanted: Sequence[int]) -> Iterator[av.VideoFrame]:
    """The frames of these ascending numbers, decoded from the first frame to the last of them."""
    numbers, count = set(wanted), 0
    for frame in all_frames(video):
        if count in numbers:
            yield frame
        count += 1
        if count > wanted[-1]:
            return
    reason = f"it has {count} frames, and frame {wanted[-1]} is asked for"
    raise UnreadableVideo(reason, video.path, "truncated")


def _scan(video: Video) -> Scan:
    with opened(video) as (container, stream):
        return scan(video, container, stream)


def _info(said: Header, frame: av.VideoFrame, count: int) -> VideoInfo:
    turns, fps = quarter_turns(frame), said.fps
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    duration_s = count / fps if fps else 0.0
    return VideoInfo(width, height, fps, count, duration_s, said.codec, 90 * turns, said.announced_frames)


def _in_order(frames_THWC: np.ndarray, order: np.ndarray) -> np.ndarray:
    return frames_THWC if np.array_equal(order, np.arange(len(frames_THWC))) else frames_THWC[order]


def _gather(frames: Iterable[av.VideoFrame], size: tuple[int, int] | None) -> np.ndarray:
    chunks = [resize(chunk, size) if size else chunk for chunk in _chunks(frames)]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _chunks(frames: Iterable[av.VideoFrame]) -> Iterator[np.ndarray]:
    """Frames as RGB uint8 [n, H, W, 3] of at most CHUNK_BYTES."""
    reformatter, chunk, filled = VideoReformatter(), None, 0
    for frame in frames:
        picture_HWC = to_rgb(frame, reformatter)
        if chunk is None:
            chunk = np.empty((max(1, CHUNK_BYTES // picture_HWC.nbytes), *picture_HWC.shape), np.uint8)
        chunk[filled] = picture_HWC
        filled += 1
        if filled == len(chunk):
            yield chunk
            chunk, filled = None, 0
    if chunk is not None:
        yield chunk[:filled]
