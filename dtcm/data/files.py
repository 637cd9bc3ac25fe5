"""Files on disk and in S3, by path or URI: list them, read them whole, and try again where a store fails.

For S3 the endpoint, region and credentials come from the usual AWS_ environment variables.
"""

import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from dtcm.errors import BadInput

SDK_ATTEMPTS = 11
"""Times that the S3 client sends a request by itself: it waits about 0.5, 1, 2, 4, 8 and then up to 20 s each, so a
store may be dead, throttle or stall for a minute, and is given up after about 100 s."""
ATTEMPTS = 4
"""Times that a whole read is begun again where a body ends too soon or the client gives up early."""
PATIENCE_S = 60.0
"""A read is not begun again after this: the client itself has waited long enough."""
OPTIONS = ("endpoint_override", "region", "scheme")
"""What a URI may say of its store behind a "?"."""
SECRET = re.compile(r"://[^/@]*:[^/]*@|(?i:[?&][\w-]*(key|secret|token|password)[\w-]*=)")
"""What of a URI only its owner may know."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class File:
    """A file below a folder."""

    name: str
    """Path below the folder, with "/"."""
    bytes: int
    modified_s: float
    """Seconds since 1970."""


def is_uri(place: str) -> bool:
    """Whether a place is a URI, such as s3://bucket/videos, and not a path of this machine."""
    return "://" in place


def absolute(place: str) -> str:
    """The place as an absolute path, or the URI without a slash at its end."""
    return place.rstrip("/") if is_uri(place) else str(Path(place).expanduser().absolute())


def join(folder: str, name: str) -> str:
    """The place of a file `name` below a folder; options behind the "?" of a URI stay at its end."""
    base, options = split_options(folder) if is_uri(folder) else (folder, "")
    return f"{base.rstrip('/')}/{name}{options}"


def split_options(uri: str) -> tuple[str, str]:
    """A URI and the options at its end; another "?" belongs to a file's name, which is taken as it is."""
    match = re.fullmatch(rf"(.*?)((?:\?(?:{'|'.join(OPTIONS)})=[^?]*)?)", uri, re.DOTALL)
    assert match, uri
    return match[1], match[2]


def is_folder(place: str) -> bool:
    """Whether a folder exists; in S3, whether an object's key begins so."""
    if not is_uri(place):
        return Path(place).expanduser().is_dir()
    system, path = filesystem(place)
    return _again(lambda: system.get_file_info(path).type == fs.FileType.Directory)


def list_files(folder: str, hidden: bool = False) -> list[File]:
    """All files below a folder, sorted by name; hidden ones only on request. Links to folders are followed once.

    Raises BadInput if there is no such folder.
    """
    if not is_folder(folder):
        raise BadInput(f"There is no folder {folder!r}; name a folder or an s3:// URI that holds files.")
    if not is_uri(folder):
        return sorted(_walk(Path(folder).expanduser(), hidden), key=lambda file: file.name)
    system, path = filesystem(folder)
    found = _again(lambda: system.get_file_info(fs.FileSelector(path, recursive=True)))
    files = [
        File(info.path.removeprefix(f"{path.rstrip('/')}/"), info.size, info.mtime.timestamp())
        for info in found
        if info.type == fs.FileType.File
    ]
    return sorted((file for file in files if hidden or not _is_hidden(file.name)), key=lambda file: file.name)


def read_bytes(place: str) -> bytes:
    """The whole content of a file. Raises FileNotFoundError, and OSError where a store keeps failing."""
    if not is_uri(place):
        return Path(place).read_bytes()
    system, path = filesystem(place)

    def read() -> bytes:
        with system.open_input_file(path) as file:
            content = file.read()
            if len(content) != file.size():
                raise OSError(f"{place} ended after {len(content)} of {file.size()} bytes")
        return content

    return _again(read)


def read_table(place: str) -> pa.Table:
    """The table of a Parquet file. Raises FileNotFoundError, pyarrow.ArrowInvalid for another file, and OSError."""
    # Through the file system: from a buffer, pyarrow's threads can abort a process that ends at once (25.0).
    system, path = filesystem(place)
    read = functools.partial(pq.read_table, path, filesystem=system)
    return _again(read) if is_uri(place) else read()  # on disk, what is damaged stays so


def filesystem(place: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path within it.

    s3://bucket/key?endpoint_override=host:port&scheme=http names another store than AWS_ENDPOINT_URL.
    Raises BadInput for what is neither a path nor a URI that can be opened.
    """
    if not is_uri(place):
        return fs.LocalFileSystem(), place
    if SECRET.search(place):  # a place is written down in configurations, manifests and reports
        raise BadInput(
            "A URI must not hold a password or key; let AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY hold it."
        )
    try:
        if not place.startswith("s3://"):
            return fs.FileSystem.from_uri(place)
        base, options = split_options(place)
        path = base.removeprefix("s3://").rstrip("/")
        if not path:
            raise ValueError("it names no bucket")
        if {"", ".", ".."} & set(path.split("/")):  # the client would ask for another key than is named
            raise ValueError("no part of a key may be empty, . or ..")
        return _s3(path.split("/")[0], options.removeprefix("?")), path
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(f"{place!r} cannot be opened; name a folder or an s3:// URI ({error}).") from error


def _s3(bucket: str, query: str) -> fs.S3FileSystem:
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if "endpoint_override" not in options and endpoint:
        options |= {"endpoint_override": urlsplit(endpoint).netloc, "scheme": urlsplit(endpoint).scheme}
    return _client("" if options else bucket, tuple(sorted(options.items())))


@functools.cache
def _client(bucket: str, options: tuple[tuple[str, str], ...]) -> fs.S3FileSystem:
    """A client; made by hand because neither a URI nor pyarrow's default says how often to try again."""
    region = {"region": fs.resolve_s3_region(bucket)} if bucket else {}
    retries = fs.AwsStandardS3RetryStrategy(max_attempts=SDK_ATTEMPTS)
    return fs.S3FileSystem(retry_strategy=retries, **dict(options), **region)


def _again(call: Callable[[], Value]) -> Value:
    """What a call gives, begun again with growing pauses while the store fails."""
    end_s = time.monotonic() + PATIENCE_S
    for attempt in range(1, ATTEMPTS):
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2 * 2**attempt)
    return call()


def _walk(root: Path, hidden: bool) -> Iterator[File]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        if not hidden:
            names, folders[:] = _shown(names), _shown(folders)
        # A link to a folder above would be followed for ever.
        folders[:] = [name for name in folders if not _seen(Path(folder) / name, seen)]
        for name in names:
            path = Path(folder) / name
            if path.is_file():
                status = path.stat()
                yield File(path.relative_to(root).as_posix(), status.st_size, status.st_mtime)


def _seen(path: Path, seen: set[str]) -> bool:
    return os.path.realpath(path) in seen


def _shown(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
