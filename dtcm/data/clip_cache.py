"""Decoded videos on local disk, so that a training decodes each once: optional, of limited size, for many processes.

A file holds every frame of a video as `load_clip` resizes it, so whichever frames and crop an epoch draws are cut
from it, and clips are the same as without. Files are complete or not there, and checked when a process first opens
one. What earlier trainings left makes room, least recently used first; what this one uses stays, for where the
videos are more than fit, each new one driving out another would leave none to be found.
"""

import fcntl
import hashlib
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dtcm.config import DataConfig
from dtcm.data.decode import Source, decode_all
from dtcm.data.transforms import resized


@dataclass(frozen=True)
class ClipCache:
    """Where decoded videos are kept, and how many bytes of them."""

    folder: str
    """On the local disk of each machine. Empty: in its folder for temporary files."""
    limit_bytes: int
    since_s: float
    """When the training began, in seconds since 1970: files used since then stay."""

    @property
    def path(self) -> Path:
        """The folder on this machine."""
        return Path(self.folder).expanduser() if self.folder else Path(tempfile.gettempdir()) / "dtcm-clips"


_refused: dict[ClipCache, int] = {}
"""The smallest file for which a cache had no room: it will have none, since what a training uses stays, and to look
again at every video takes longer than to decode it where the folder has many thousands."""


def cached_video(cache: ClipCache, source: Source, sha256: str, frames: int, data: DataConfig) -> np.ndarray | None:
    """All frames of a video as `load_clip` resizes them, [frames, height, width, 3], memory-mapped.

    From the cache, or decoded and put there. None where there is no room, or the disk fails.
    Raises UnreadableVideo.
    """
    shape = (frames, data.height_px, data.width_px, 3)
    path = cache.path / f"{_key(sha256, shape, data)}.npy"
    try:
        if not _sound(path) and not _put(cache, path, source, shape, data):
            return None
        status = path.stat()
        os.utime(path, ns=(max(status.st_atime_ns, int(1e9 * cache.since_s)), status.st_mtime_ns))
        return np.load(path, mmap_mode="r")
    except OSError:  # full, read-only, or removed by another training in this moment: the clip is decoded as without
        return None


def _key(sha256: str, shape: tuple[int, ...], data: DataConfig) -> str:
    """Equal where frames are: by content of the file, size, and what decodes and resizes."""
    said = (sha256, shape, data.centre_px, version("av"), version("torch"))
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _sound(path: Path) -> bool:
    """Whether a complete and undamaged file is there; a damaged one is removed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if _checked(str(path), status.st_ino, status.st_size, status.st_mtime_ns):
        return True
    path.unlink(missing_ok=True)
    return False


@lru_cache(maxsize=2**16)
def _checked(path: str, *_: int) -> bool:
    """Whether a file ends in the checksum of what stands before; read once in a process, while it does not change."""
    content = memoryview(Path(path).read_bytes())
    return len(content) > 4 and zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "big")


def _put(cache: ClipCache, path: Path, source: Source, shape: tuple[int, ...], data: DataConfig) -> bool:
    """Decode a video into a file; False where it has no room, or is another video than was said."""
    header = _header(shape)
    growing = path.with_suffix(f".{os.getpid()}")
    if not _reserve(cache, growing, len(header) + int(np.prod(shape)) + 4):
        return False
    try:
        checksum, count = zlib.crc32(header), 0
        with growing.open("r+b") as file:
            file.write(header)
            for frames_THWC in decode_all(source):
                chunk = np.ascontiguousarray(resized(frames_THWC, data))
                file.write(chunk.data)
                checksum, count = zlib.crc32(chunk.data, checksum), count + len(chunk)
            file.write(checksum.to_bytes(4, "big"))
            if count != shape[0]:
                return False
        growing.replace(path)
        return True
    finally:
        growing.unlink(missing_ok=True)


def _header(shape: tuple[int, ...]) -> bytes:
    """Of numpy's own format, so that numpy maps the file."""
    with tempfile.SpooledTemporaryFile() as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.seek(0)
        return file.read()


def _reserve(cache: ClipCache, path: Path, needed_bytes: int) -> bool:
    """Make room for a file and create it at its full size, so that all processes together keep within the limit."""
    if needed_bytes >= _refused.get(cache, math.inf):
        return False
    cache.path.mkdir(parents=True, exist_ok=True)
    with (cache.path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = sorted(_files(cache.path))
        free_bytes = cache.limit_bytes - sum(size for _, size, _ in files)
        for used_s, size, name in files:
            if free_bytes >= needed_bytes or used_s >= cache.since_s:
                break
            (cache.path / name).unlink(missing_ok=True)
            free_bytes += size
        if free_bytes < needed_bytes:
            if all(name.endswith(".npy") for _, _, name in files):  # what still grows may come to nothing
                _refused[cache] = needed_bytes
            return False
        with path.open("wb") as file:
            file.truncate(needed_bytes)
        return True


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """When each was last used, its bytes and name; also those that are growing, or were when their process ended."""
    for entry in os.scandir(folder):
        if entry.name != "lock":
            status = entry.stat()
            yield status.st_atime, status.st_size, entry.name
