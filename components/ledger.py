"""What happened to the trials of a sweep, the truth that it goes on from; and the lock that keeps it to one driver.

On disk the ledger is trials.jsonl, to which lines are only ever appended; on S3, which cannot append, an object for
each event. Only the driver of a sweep writes to it.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.storage import Folder
from dtcm.errors import BadInput

State = Literal["started", "finished", "stopped", "failed"]
Event = dict[str, Any]

BEAT_S = 15
"""How often the holder of a lock shows that it lives."""
STALE_S = 90
"""A lock whose holder has been silent for so long is taken over."""
SETTLE_S = 1
"""After so long, of two that claim a lock at the same moment, both see who wrote last."""


@dataclass(frozen=True)
class Ledger:
    """The ledger in the folder of a sweep."""

    folder: Folder

    def append(self, trial: str, event: State, **facts: Any) -> None:
        """Add an event, safe on disk when this returns."""
        line = json.dumps({"time_s": time.time(), "trial": trial, "event": event, **facts}) + "\n"
        if not self.folder.is_local:
            return (self.folder / "trials").write(f"{time.time_ns()}-{uuid.uuid4().hex}.json", line.encode())
        path = Path(self.folder.uri) / "trials.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            # Half a line, of a driver that was killed while it wrote, must not swallow this one.
            half = file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            file.write(b"\n" * bool(half) + line.encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[Event]:
        """All events, oldest first."""
        if not self.folder.is_local:
            objects = self.folder / "trials"
            return [json.loads(objects.read(name)) for name in objects.names()]
        if not self.folder.has("trials.jsonl"):
            return []
        return [event for line in self.folder.read("trials.jsonl").splitlines() if (event := _parsed(line))]

    def trials(self) -> dict[str, Event]:
        """What is known of each trial by its name: facts of all its events, its state from the last."""
        known: dict[str, Event] = {}
        for event in self.events():
            known[event["trial"]] = {**known.get(event["trial"], {}), **event}
        return known


class Taken(BadInput):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Folder, what: str) -> Generator[None]:
    """Hold the lock of a folder. Raises Taken, which names `what`, while another living process holds it."""
    if folder.has("LOCK") and _lives(holder := json.loads(folder.read("LOCK"))):
        raise Taken(f"{what} is being run by process {holder['pid']} of {holder['host']}; wait for it to end.")
    token, ended = uuid.uuid4().hex, threading.Event()
    _write(folder, token)
    time.sleep(SETTLE_S)
    if json.loads(folder.read("LOCK"))["token"] != token:
        raise Taken(f"{what} has just been started by another process; wait for it to end.")
    beats = threading.Thread(target=_beat, args=(folder, token, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        folder.remove("LOCK")


def _beat(folder: Folder, token: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            _write(folder, token)
        except OSError as error:
            print(f"The lock in {folder.uri} could not be renewed ({error}).", flush=True)


def _write(folder: Folder, token: str) -> None:
    holder = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "time_s": time.time()}
    folder.write("LOCK", json.dumps(holder).encode())


def _lives(holder: dict[str, Any]) -> bool:
    if time.time() - holder["time_s"] > STALE_S:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parsed(line: bytes) -> Event | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
