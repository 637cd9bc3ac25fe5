"""What a video file contains: its stream of pictures and their packets, by PyAV (FFmpeg); `frames` decodes them.

How a file is read depends on its content alone, so that the index, training and prediction agree.
"""

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dtcm.data.files import is_uri, read_bytes
from dtcm.errors import BadInput

Source: TypeAlias = str | Path | bytes
"""A path on this machine, an s3:// URI, or the content of a file."""

Kind: TypeAlias = Literal[
    "missing", "empty", "not-a-video", "no-video-stream", "truncated", "zero-sized", "decoder-failed"
]

DECODER_ERRORS = (av.FFmpegError, ValueError, OSError, RuntimeError, MemoryError, OverflowError)

ANNOUNCING = {"avi", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "asf"}
"""Containers whose header says how long they are; of others FFmpeg takes what it finds for the duration."""

SLACK_FRAMES, SLACK_S = 2, 0.1
"""What a container may announce too much: two frames, or a tenth of a second where that is more."""

MOST_PX = 2**26
"""Pixels of the largest frame that is decoded; a damaged header can ask for more memory than there is."""

SIGNATURES = {4: b"ftyp", 0: b"\x1a\x45\xdf\xa3", 8: b"AVI LIST"}
"""How MP4, Matroska and AVI files begin: byte offset and content."""


class UnreadableVideo(BadInput):
    """A video that cannot be decoded as it should; `reason` says why, without the path, `kind` in one word."""

    def __init__(self, reason: str, path: str = "", kind: Kind = "decoder-failed") -> None:
        super().__init__(reason, path, kind)
        self.reason, self.path, self.kind = reason, path, kind

    def __str__(self) -> str:
        return f"{self.path or 'The video'} cannot be read: {self.reason}."


class Video(NamedTuple):
    """A file that can be opened as often as needed."""

    path: str
    """Empty for a content that came without one."""
    content: bytes | None
    """None for a file on this machine, which is read where it lies."""


def fetch(source: Source) -> Video:
    """The file behind a source, an s3:// URI read whole. Raises UnreadableVideo if there is none or nothing in it."""
    path = "" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else None
    try:
        if is_uri(path):
            content = read_bytes(path)
        size = Path(path).stat().st_size if content is None else len(content)
    except FileNotFoundError as error:
        raise UnreadableVideo("missing: there is no such file", path, "missing") from error
    if content is None and not Path(path).is_file():
        raise UnreadableVideo("not a video but a folder", path, "not-a-video")
    if size == 0:
        raise UnreadableVideo("empty: the file has 0 bytes", path, "empty")
    return Video(path, content)


@contextmanager
def guarded(path: str) -> Generator[None]:
    """Turns whatever a decoder raises into UnreadableVideo."""
    try:
        yield
    except BadInput:
        raise
    except DECODER_ERRORS as error:
        raise decoder_failed(path, error) from error


def decoder_failed(path: str, error: Exception, after: int | None = None) -> UnreadableVideo:
    """What to raise for an error after a number of decoded frames."""
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    place = "" if after is None else f" after frame {after}"
    return UnreadableVideo(f"the decoder fails{place}: {' '.join(message.split())[:300].rstrip('.')}", path)


@contextmanager
def opened(video: Video) -> Generator[tuple[InputContainer, VideoStream]]:
    """A container and its stream of pictures, decoded by one thread since many files are decoded at once."""
    # An absolute path, since FFmpeg takes what stands before a colon for a protocol.
    place = str(Path(video.path).absolute()) if video.content is None else io.BytesIO(video.content)
    try:
        container = av.open(place, "r", metadata_errors="replace")
    except DECODER_ERRORS as error:
        raise _not_opened(video) from error
    with container:
        stream = _stream(video, container)
        stream.thread_type = "NONE"
        stream.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MOST_PX)}
        yield container, stream


def packets(video: Video, container: InputContainer, stream: VideoStream) -> Generator[av.Packet]:
    """The packets of a stream in the order of decoding.

    Raises UnreadableVideo behind the last where the end is cut off. That is where no stream comes as far
    as the header says (less SLACK), or the last packet is shorter than it says itself.
    """
    ends: dict[int, int] = {}
    whole, any_packet, cut = 0, False, None
    for packet in container.demux():
        if not packet.size:
            continue  # a mark of the end, or an AVI's sign that the frame before stays
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            ends[packet.stream_index] = max(time + (packet.duration or 0), ends.get(packet.stream_index, time))
        if packet.stream_index != stream.index:
            continue
        if cut is not None:
            yield cut  # another follows, so it is damaged and not cut off
        any_packet, cut = True, packet if packet.is_corrupt else None
        if cut is None:
            whole += not packet.is_discard
            yield packet
    reached_s = max((end * float(container.streams[index].time_base or 0) for index, end in ends.items()), default=0.0)
    missing_s = announced_s(container, stream) - reached_s + min(0, container.start_time or 0) / av.time_base
    if cut is not None or missing_s > max(SLACK_S, SLACK_FRAMES / (fps(stream) or SLACK_FRAMES)):
        reason = f"truncated after frame {whole}: by its header it lasts {announced_s(container, stream):.2f} s"
        raise UnreadableVideo(reason, video.path, "truncated")
    if not any_packet:
        raise UnreadableVideo("no video stream that holds a frame", video.path, "no-video-stream")


def announced_s(container: InputContainer, stream: VideoStream) -> float:
    """The duration by the header, 0 where it says nothing."""
    if container.format.name not in ANNOUNCING:
        return 0.0
    if container.format.name == "avi" and fps(stream):
        return stream.frames / fps(stream)  # FFmpeg shortens an AVI's duration to what is there
    return (container.duration or 0) / av.time_base


def fps(stream: VideoStream) -> float:
    """Frames per second on average, 0 where the file does not tell."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def _stream(video: Video, container: InputContainer) -> VideoStream:
    """The stream with the largest frames, of equals the first; the picture of a cover is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise UnreadableVideo("no video stream", video.path, "no-video-stream")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise UnreadableVideo("the decoder fails: FFmpeg has none for this codec", video.path)
    stream = max(known, key=lambda stream: stream.width * stream.height)
    if not stream.width or not stream.height:
        raise UnreadableVideo("zero-sized frames", video.path, "zero-sized")
    return stream


def _not_opened(video: Video) -> UnreadableVideo:
    head = (video.content or b"")[:16]
    if video.content is None:
        with Path(video.path).open("rb") as file:
            head = file.read(16)
    if any(head[at:].startswith(signature) for at, signature in SIGNATURES.items()):
        reason = "truncated after frame 0: it begins as a video, and what tells where the frames are is not there"
        return UnreadableVideo(reason, video.path, "truncated")
    return UnreadableVideo("not a video", video.path, "not-a-video")
