"""Files that one of several processes can make, on disk and on S3 alike, and the lock that is made of them.

The holders of a lock are numbered files of its folder lock/. To take over from one that died is to make the next
number, which only one can; the highest number holds.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.exceptions import ClientError

from components.storage import Folder
from dtcm.errors import BadInput

LOCK = "lock"
BEAT_S = 15
"""How often the holder of a lock shows that it lives."""
STALE_S = 90
"""A lock whose holder has been silent for so long is taken over. Clocks of machines should not differ by as much."""


class Taken(BadInput):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Folder, what: str) -> Generator[None]:
    """Hold the lock of a folder. Raises Taken, which names `what`, while another living process holds it."""
    locks = folder / LOCK
    before = locks.names()
    if before and _lives(holder := _holder(locks, before[-1])):
        raise Taken(f"{what} is being run by process {holder['pid']} of {holder['host']}; wait for it to end.")
    token = uuid.uuid4().hex
    name = f"{int(before[-1].partition('.')[0]) + 1 if before else 1:06d}.json"
    too_late = f"{what} has just been started by another process; wait for it to end."
    if not create(locks, name, _claim(token)):
        raise Taken(too_late)
    # Of those listed, one may have been given back since and its number taken anew. Each of two such takers looks again
    # once its own file is there, so that at least one of them sees the other's.
    others = [other for other in locks.names() if other != name]
    if any(_lives(_holder(locks, other)) for other in others):
        _give_back(locks, name)
        raise Taken(too_late)
    for other in others:
        locks.remove(other)
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(locks, name, token, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        if _holder(locks, name).get("token") == token:
            _give_back(locks, name)


def _give_back(locks: Folder, name: str) -> None:
    """Leave neither the lock file nor, on disk, an empty folder."""
    locks.remove(name)
    if locks.is_local:
        with suppress(OSError):  # another is taking the lock
            Path(locks.uri).rmdir()


def _beat(locks: Folder, name: str, token: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            if locks.names()[-1:] != [name]:
                return print(f"The lock in {locks.uri} was taken over: this process was silent for long.", flush=True)
            locks.write(name, _claim(token))
        except (OSError, BadInput) as error:  # BadInput: a full disk
            print(f"The lock in {locks.uri} could not be renewed ({error}).", flush=True)


def _claim(token: str) -> bytes:
    holder = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "time_s": time.time()}
    return json.dumps(holder).encode()


def _holder(locks: Folder, name: str) -> dict[str, Any]:
    try:
        return json.loads(locks.read(name))
    except FileNotFoundError:  # given back since it was listed
        return {"time_s": 0.0}


def _lives(holder: dict[str, Any]) -> bool:
    if time.time() - holder["time_s"] > STALE_S:
        return False
    return holder["host"] != socket.gethostname() or alive(holder["pid"])


def alive(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def create(folder: Folder, name: str, content: bytes) -> bool:
    """Write a file, whole, unless one of this name exists; returns whether it was written."""
    if not folder.is_local:
        return _create_in_s3(folder, name, content)
    target = Path(folder.uri) / name
    draft = target.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        with suppress(FileExistsError):
            target.parent.mkdir(parents=True)
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, target)  # unlike a rename, a link never replaces
    except FileNotFoundError:  # who gave a lock back has removed its folder since
        return create(folder, name, content)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _create_in_s3(folder: Folder, name: str, content: bytes) -> bool:
    """A conditional put, which pyarrow's file system does not know."""
    place = urlsplit(folder.uri)
    options = {key: values[-1] for key, values in parse_qs(place.query).items()}
    endpoint = options.get("endpoint_override")
    client = boto3.client(
        "s3",
        endpoint_url=f"{options.get('scheme', 'https')}://{endpoint}" if endpoint else None,
        region_name=options.get("region"),
    )
    try:
        client.put_object(Bucket=place.netloc, Key=f"{place.path.strip('/')}/{name}", Body=content, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            # A put whose answer was lost is repeated, and then finds its own object.
            return folder.has(name) and folder.read(name) == content
        raise
    return True
