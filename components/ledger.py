"""What happened to the trials of a sweep, the truth that it goes on from.

On disk the ledger is trials.jsonl, to which lines are only ever appended; on S3, which cannot append, an object for
each event. Only the driver of a sweep writes to it.
"""

import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.storage import Folder

State = Literal["started", "finished", "stopped", "failed"]
Event = dict[str, Any]


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


def _parsed(line: bytes) -> Event | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
