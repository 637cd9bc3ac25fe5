"""Follows a training from its metrics.jsonl: lines for a person to watch, and MLflow kept up to date."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from components.registry import Tracker
from components.runs import Run

SAY_EVERY_S = 15
"""Longest silence while steps are being made."""


@contextmanager
def watched(run: Run, tracker: Tracker, steps: int) -> Generator[None]:
    """While the body trains, print its progress and mirror its records to MLflow."""
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(run, tracker, steps, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(run: Run, tracker: Tracker, steps: int, stop: threading.Event) -> None:
    poll_s = 1 if run.folder.is_local else 15
    seen, said_s = len(run.read_metrics()), time.monotonic()
    while True:
        stopping = stop.wait(poll_s)
        records = run.read_metrics()
        if len(records) < seen:
            print(
                f"Workers were lost and replaced; training goes on from step {records[-1]['step'] if records else 0}."
            )
            seen = len(records)
        new = records[seen:]
        if any(record["kind"] == "val" for record in new) or (new and time.monotonic() - said_s > SAY_EVERY_S):
            print(_line(records, steps), flush=True)
            seen, said_s = len(records), time.monotonic()
        tracker.sync(records)
        if stopping:
            return


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
