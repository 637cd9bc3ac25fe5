"""Follows a training from its metrics.jsonl: lines for a person to watch, and MLflow kept up to date."""

import json
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from components.execution import described
from components.registry import Tracker
from components.runs import METRICS, Run
from components.unreadable import note

SAY_EVERY_S = 15
"""Longest silence while steps are being made."""


@contextmanager
def watched(run: Run, tracker: Tracker | None, steps: int) -> Generator[None]:
    """While the body trains, print its progress and, where there is a tracker, mirror its records to MLflow."""
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(run, tracker, steps, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(run: Run, tracker: Tracker | None, steps: int, stop: threading.Event) -> None:
    poll_s, file = 1 if run.folder.is_local else 15, RecordFile(run)
    file.read_on()
    seen, said_s, complained, stopping = len(file.records), time.monotonic(), False, False
    begun = False
    while not stopping:
        stopping, known = stop.wait(poll_s), len(file.records)
        try:
            kept, unread, steps_are = file.read_on(), note(run.folder), "" if begun else described(run)
        except OSError as error:
            if not complained:
                print(f"{run.folder.uri} cannot be read ({error}); progress is shown when it can.", flush=True)
            complained = True
            continue
        records = file.records
        if kept < known:
            print(f"Training was taken up again from step {records[kept - 1]['step'] if kept else 0}.", flush=True)
            seen = min(seen, kept)
        if records and not begun:
            begun = True
            if steps_are:
                print(steps_are, flush=True)
        ends = [place for place in range(seen + 1, len(records) + 1) if records[place - 1]["kind"] == "val"]
        if not ends and len(records) > seen and time.monotonic() - said_s > SAY_EVERY_S:
            ends = [len(records)]
        for end in ends:
            print("  ".join(filter(None, (_line(records[:end], steps), unread))), flush=True)
            seen, said_s = end, time.monotonic()
        if tracker:
            tracker.sync(records)


class RecordFile:
    """The records of metrics.jsonl, of which each is parsed once however long the file grows."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records: list[dict[str, Any]] = []
        self._content = b""

    def read_on(self) -> int:
        """Read what is new; returns how many of the records before are still there.

        Workers that were replaced go on from a checkpoint and put new records in the place of those after it.
        """
        content = self.run.folder.read(METRICS) if self.run.folder.has(METRICS) else b""
        kept = len(self.records)
        if not content.startswith(self._content):
            lines = zip(self._content.splitlines(), content.splitlines(), strict=False)
            kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], lines))
            self.records, self._content = [], b""
        self.records += map(json.loads, content[len(self._content) :].splitlines())
        self._content = content
        return kept


def _line(records: Sequence[dict[str, Any]], steps: int) -> str:
    """One line: epoch, step, loss, validation accuracy, speed, share of waiting for data, time left."""
    last = [record["metrics"] for record in records[-60:] if record["kind"] == "train"]
    step, epoch = records[-1]["step"], records[-1]["epoch"]
    step_s = sum(values["step_s"] for values in last) / len(last)
    waiting = sum(values["wait_s"] for values in last) / sum(values["step_s"] for values in last)
    parts = [
        f"epoch {epoch:3d}",
        f"step {step}/{steps}",
        f"loss {sum(values['total'] for values in last) / len(last):.3f}",
    ]
    if records[-1]["kind"] == "val" and records[-1]["metrics"]:
        parts.append(f"val top-1 {100 * records[-1]['metrics']['top1']:.1f} %")
    parts += [f"{1000 * step_s:.0f} ms/step", f"{100 * waiting:.0f} % waiting for data"]
    return "  ".join([*parts, f"{_clock((steps - step) * step_s)} left"])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
