"""Folders on disk or on S3 behind one small surface, and the checkpoints kept in them.

A file is written whole or not at all: on disk by a rename, on S3 because an object appears when its
upload completes. A checkpoint is a folder whose `COMMITTED` file, written last, holds the sha256 of
every other file; what lacks it, or does not match it, does not exist.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from dtcm.data.files import filesystem, is_uri, join, read_bytes, read_table
from dtcm.errors import BadInput

COMMITTED = "COMMITTED"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What a disk that is full, or a quota that is used up, answers."""


class NoRoom(BadInput):
    """A disk has no room for a file. What can wait may be tried again later; anything else ends with its sentence."""


@dataclass(frozen=True)
class Folder:
    """A folder by its absolute path or URI, such as /data/runs or s3://bucket/runs.

    For S3 the endpoint and credentials come from the usual AWS_ environment variables.
    """

    uri: str

    def __truediv__(self, name: str) -> "Folder":
        """The folder `name` within this one."""
        return Folder(join(self.uri, name))

    @property
    def is_local(self) -> bool:
        """Whether this is a path on disk."""
        return not is_uri(self.uri)

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        return read_bytes(join(self.uri, name))

    def read_table(self, name: str) -> pa.Table:
        """The table of a Parquet file. Raises FileNotFoundError."""
        return read_table(join(self.uri, name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, over an older one. Raises NoRoom if the disk has none for it."""
        system, path = filesystem(self.uri)
        if not self.is_local:
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)
            return
        target = Path(path) / name
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            if error.errno in NO_ROOM:
                raise _no_room(target, len(content)) from error
            raise
        finally:
            draft.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Whether a file or folder of this name exists."""
        system, path = filesystem(self.uri)
        return system.get_file_info(f"{path}/{name}").type != fs.FileType.NotFound

    def names(self) -> list[str]:
        """The names of the files and folders within, sorted; none if the folder does not exist."""
        system, path = filesystem(self.uri)
        try:
            found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except FileNotFoundError:  # it was made while pyarrow looked whether it is there
            return []
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it. Nothing happens if it does not exist."""
        system, path = filesystem(self.uri)
        info = system.get_file_info(f"{path}/{name}")
        if info.type == fs.FileType.Directory:
            system.delete_dir(info.path)
        elif info.type == fs.FileType.File:
            system.delete_file(info.path)


def folder_at(place: str) -> Folder:
    """The folder at a path, absolute or relative to the working directory, or at a URI."""
    return Folder(place.rstrip("/") if "://" in place else str(Path(place).expanduser().resolve()))


def to_parquet(table: pa.Table) -> bytes:
    """A table as the content of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def write_checkpoint(checkpoints: Folder, step: int, files: Mapping[str, bytes]) -> None:
    """Write `step_<step>/` and, after everything else, its COMMITTED file. Without room for all there is none of it."""
    folder = checkpoints / _name(step)
    folder.remove(COMMITTED)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        for name, content in files.items():
            folder.write(name, content)
        folder.write(COMMITTED, json.dumps(digests, indent=2).encode())
    except NoRoom:
        checkpoints.remove(_name(step))
        raise


def read_checkpoint(checkpoints: Folder, step: int) -> dict[str, bytes] | None:
    """The files of a committed checkpoint; None if it is not committed or a file does not match."""
    folder = checkpoints / _name(step)
    if not folder.has(COMMITTED):
        return None
    try:
        digests: dict[str, str] = json.loads(folder.read(COMMITTED))
        files = {name: folder.read(name) for name in digests}
    except (FileNotFoundError, ValueError):
        return None
    whole = all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in digests.items())
    return files if whole else None


def latest_checkpoint(checkpoints: Folder) -> tuple[int, dict[str, bytes]] | None:
    """Step and files of the latest checkpoint that is committed and whole."""
    for step in reversed(checkpoint_steps(checkpoints)):
        files = read_checkpoint(checkpoints, step)
        if files is not None:
            return step, files
        print(f"Checkpoint step_{step:08d} is incomplete or damaged and is not used.", flush=True)
    return None


def checkpoint_steps(checkpoints: Folder) -> list[int]:
    """Steps of all checkpoint folders, ascending, whole or not."""
    matches = (re.fullmatch(r"step_(\d+)", name) for name in checkpoints.names())
    return sorted(int(match[1]) for match in matches if match)


def prune_checkpoints(checkpoints: Folder, latest: int, keep: int, best: int) -> None:
    """Remove all but the `keep` latest checkpoints up to step `latest`, just committed, and the one of step `best`.

    Later ones were damaged, or the training would have begun there; they must not count among those that are kept, and
    neither must one whose writing failed.
    """
    steps = checkpoint_steps(checkpoints)
    done = [step for step in steps if step <= latest and (checkpoints / _name(step)).has(COMMITTED)]
    for step in set(steps) - set(done[-max(keep, 1) :]) - {best}:
        (checkpoints / _name(step)).remove(COMMITTED)
        checkpoints.remove(_name(step))


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _no_room(target: Path, needed_bytes: int) -> NoRoom:
    folder = next(parent for parent in target.parents if parent.exists())
    return NoRoom(
        f"There is no room for {target}: it takes {needed_bytes / 1e6:.3g} MB, and {folder} has "
        f"{shutil.disk_usage(folder).free / 1e6:.3g} MB free, or its quota is used up; make room. What "
        "has ended for it goes on by the same command."
    )
