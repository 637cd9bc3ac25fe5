"""From the packets of a video to its frames: all in order, or a few by their groups of pictures alone."""

import bisect
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from dtcm.data.container import (
    DECODER_ERRORS,
    UnreadableVideo,
    Video,
    announced_s,
    decoder_failed,
    fps,
    opened,
    packets,
)

ONE_PACKET_A_FRAME = {"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg"}
"""Codecs in which packets tell the number of a frame. VP8 has packets that are never shown."""


class Key(NamedTuple):
    """A packet with which decoding can begin. Times are in the stream's units."""

    time: int
    packet: int
    """Its number in the order of decoding."""


class Header(NamedTuple):
    """What a file says of itself before any packet is read."""

    codec: str
    fps: float
    announced_frames: int | None


@dataclass(frozen=True)
class Scan:
    """What one pass over the packets tells, nothing decoded."""

    header: Header
    frames: int
    """Packets whose frame is shown."""
    keys: list[Key]
    """By time."""
    shown: list[int]
    """When each frame is shown, in order; empty where the packets do not tell for certain."""
    leaps: bool
    """Frames that no other needs can be told and left out: B-frames of H.264 that are no reference."""
    start: tuple[int | None, int | None, int]
    """Decoding time, presentation time and size of the first packet."""


class NotSought(Exception):
    """Frames that cannot be found by the times of their packets, or not for certain."""


def header(container: InputContainer, stream: VideoStream) -> Header:
    """What the header of an open file says."""
    announced = round(announced_s(container, stream) * fps(stream)) or None
    return Header(stream.codec_context.codec.canonical_name, fps(stream), announced)


def scan(video: Video, container: InputContainer, stream: VideoStream) -> Scan:
    """Reads all packets. Raises UnreadableVideo, also where the end is cut off."""
    keys, shown, start = [], [], (None, None, 0)
    for number, packet in enumerate(packets(video, container, stream)):
        if number == 0:
            start = _identity(packet)
        if packet.is_keyframe and packet.pts is not None:
            keys.append(Key(packet.pts, number))
        if not packet.is_discard:
            shown.append(packet.pts)
    if not shown:
        raise UnreadableVideo("no video stream that shows a frame", video.path, "no-video-stream")
    keys, codec = sorted(keys), stream.codec_context.codec.canonical_name
    certain = codec in ONE_PACKET_A_FRAME and None not in shown and len(set(shown)) == len(shown)
    # An AVI has no times of presentation; with B-frames, FFmpeg guesses them.
    certain = certain and not (container.format.name == "avi" and stream.codec_context.has_b_frames)
    # Frames before the first key may not be decodable, and would not be counted by who decodes from the start.
    certain = certain and bool(keys) and keys[0].packet == 0 and keys[0].time <= min(shown)
    times = sorted(shown) if certain else []
    return Scan(header(container, stream), len(shown), keys, times, codec == "h264", start)


def all_frames(video: Video) -> Iterator[av.VideoFrame]:
    """Every frame in order, decoded from the first packet on. Raises UnreadableVideo, also where the end is cut off."""
    with opened(video) as (container, stream), closing(decoded(video, container, stream)) as frames:
        yield from frames


def decoded(video: Video, container: InputContainer, stream: VideoStream) -> Generator[av.VideoFrame]:
    """`all_frames` of a container that is open and at its first packet."""
    count, size = 0, None
    # Packets end before their container does: closed the other way round, PyAV leaks those of MPEG-TS.
    with closing(packets(video, container, stream)) as to_decode:
        while True:
            try:
                packet = next(to_decode, None)
                frames = stream.decode(packet)
            except UnreadableVideo:
                raise
            except DECODER_ERRORS as error:
                raise decoder_failed(video.path, error, count) from error
            for frame in frames:
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    raise decoder_failed(video.path, ValueError("the size of the frames changes"), count)
                count += 1
                yield frame
            if packet is None:
                break
    if count == 0:
        raise UnreadableVideo("the decoder fails: no packet gives a frame", video.path)


def sought_frames(
    video: Video, container: InputContainer, stream: VideoStream, found: Scan, indices: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """The frames of these ascending numbers, with only their groups of pictures decoded.

    The container has been scanned and is asked to go back to its first packet. It is never asked to go
    anywhere else, since many then go elsewhere: packets of other groups are read and left out. Raises
    NotSought where a frame does not come when the packets say.
    """
    if not found.shown or indices[-1] >= len(found.shown):
        raise NotSought
    targets = [found.shown[index] for index in reversed(indices)]
    key, place = _key(found, targets[-1]), None
    for number, packet in enumerate(_again(video, container, stream, found)):
        if place is None and number != key.packet:
            continue
        if place is None:
            place = bisect.bisect_left(found.shown, key.time)
        leap = found.leaps and packet is not None and packet.pts not in targets
        stream.codec_context.skip_frame = "NONREF" if leap else "DEFAULT"
        for frame in stream.decode(packet):
            if frame.pts is not None and frame.pts < key.time:
                continue  # its group of pictures is open: it needs the group before
            place = _next_place(found, frame, place)
            if frame.pts != targets[-1]:
                continue
            yield frame
            targets.pop()
            if not targets:
                return
            if (following := _key(found, targets[-1])).packet > number:
                key, place = following, None
                stream.codec_context.flush_buffers()
                break
    raise NotSought


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """A frame as uint8 [H, W, 3], upright.

    Colours follow the matrix and range that the file names, BT.601 and limited range where it names none.
    """
    # POINT gives a pixel the colour sample that lies over it, as FFmpeg does by itself for 8 bits but not
    # for 10. One thread, since starting more takes longer than the conversion.
    rgb = reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.POINT, threads=1)
    plane = rgb.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(rgb.height, plane.line_size)
    return np.rot90(rows[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3), quarter_turns(frame))


class Shown:
    """A decoded frame as those see it who look at it. A `Viewer` makes it."""

    def __init__(self, frame: av.VideoFrame, viewer: "Viewer") -> None:
        self._frame, self._viewer = frame, viewer

    def rgb(self) -> np.ndarray:
        """uint8 [H, W, 3], as `to_rgb`."""
        return to_rgb(self._frame, self._viewer.rgb)

    def cells(self, side: int) -> np.ndarray:
        """Luma averaged over a grid of equal cells, upright, float32 [side, side] in [0, 255].

        FFmpeg averages, from the frame as it was decoded: ten times as fast as by way of RGB. It keeps 16 bits, since
        what moves in the dark changes a cell by less than a level.
        """
        frame = self._frame
        # FFmpeg would scale the two fields of an interlaced frame apart, and averages only where it shrinks.
        if frame.interlaced_frame or min(frame.width, frame.height) < side:
            frame = av.VideoFrame.from_ndarray(_at_least(side, self.rgb()), format="rgb24")
        cells = self._viewer.cells.reformat(
            frame, side, side, format="gray16le", interpolation=Interpolation.AREA, threads=1
        )
        return np.rot90(cells.to_ndarray(), quarter_turns(frame)).astype(np.float32) / 257


class Viewer:
    """Shows frames; each conversion is prepared once, for the first of frames that are alike."""

    def __init__(self) -> None:
        self.rgb, self.cells = VideoReformatter(), VideoReformatter()

    def show(self, frame: av.VideoFrame | np.ndarray) -> Shown:
        """A frame, decoded or RGB uint8 [H, W, 3]."""
        decoded = av.VideoFrame.from_ndarray(frame, format="rgb24") if isinstance(frame, np.ndarray) else frame
        return Shown(decoded, self)


def quarter_turns(frame: av.VideoFrame) -> int:
    """How often the container asks for a turn by 90 degrees, counter-clockwise, in 0 to 3."""
    return round(frame.rotation / 90) % 4


def _at_least(side: int, rgb_HWC: np.ndarray) -> np.ndarray:
    """The frame with its pixels repeated, along each axis as often as it takes to `side` pixels: no cell changes."""
    for axis, pixels in enumerate(rgb_HWC.shape[:2]):
        if pixels < side:
            rgb_HWC = rgb_HWC.repeat(-(-side // pixels), axis)
    return np.ascontiguousarray(rgb_HWC)


def _again(video: Video, container: InputContainer, stream: VideoStream, found: Scan) -> Iterator[av.Packet | None]:
    """All packets once more, and None for the end."""
    time = found.start[0] if found.start[0] is not None else found.start[1]
    container.seek(time or 0, stream=stream)
    for number, packet in enumerate(packets(video, container, stream)):
        if number == 0 and _identity(packet) != found.start:
            raise NotSought
        yield packet
    yield None


def _next_place(found: Scan, frame: av.VideoFrame, place: int) -> int:
    """The place behind this frame, which must be at `place` in the order of presentation, or later if it leaps."""
    at = place if frame.pts is None else bisect.bisect_left(found.shown, frame.pts, place)
    if at == len(found.shown) or found.shown[at] != frame.pts or (at > place and not found.leaps):
        raise NotSought
    if frame.is_corrupt or (found.leaps and frame.interlaced_frame):  # two fields can be two packets
        raise NotSought
    return at + 1


def _identity(packet: av.Packet) -> tuple[int | None, int | None, int]:
    return packet.dts, packet.pts, packet.size


def _key(found: Scan, time: int) -> Key:
    return found.keys[bisect.bisect_right(found.keys, time, key=lambda key: key.time) - 1]
