"""Writes records and checkpoints on a thread of its own, so that no step waits for storage.

One thing at a time and in order: records before the checkpoint that counts on them. Only rank 0 has a saver.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from components.notice import STOP
from components.runs import METRICS, Run, line
from components.storage import NoRoom, prune_checkpoints, write_checkpoint

GIVE_UP = 3
"""So many checkpoints that cannot be written, one after the other, end the training. A store was asked for as long as
`dtcm.data.files` asks, and what one held is in the next."""


class Saver:
    """Rank 0's hand on the run folder."""

    def __init__(self, run: Run, keep: int) -> None:
        self.run, self.keep = run, keep
        self.stop_asked = False
        """Whether STOP was there when last looked for."""
        self.failures = 0
        """Checkpoints in a row, up to now, that could not be written."""
        self._error: OSError | NoRoom | None = None
        self._lines: list[bytes] = []
        self._thread = ThreadPoolExecutor(1, "saver")
        self._work: Future[None] | None = None

    def idle(self) -> bool:
        """Whether nothing is being written. Raises the error with which training has to end."""
        if self._work is not None and self._work.done():
            self.wait()
        return self._work is None

    def wait(self) -> None:
        """Wait until nothing is being written. Raises the error with which training has to end."""
        work, self._work = self._work, None
        if work is not None:
            work.result()

    def finish(self) -> None:
        """Wait, and raise the error of the last checkpoint if it could not be written."""
        self.wait()
        if self._error is not None:
            raise self._error

    def look(self, records: Sequence[dict[str, Any]] = ()) -> None:
        """Begin to write records, if there are any, and to look for STOP; unless something is being written."""
        if self.idle():
            self._begin(self._look, list(records))

    def save(self, step: int, files: Mapping[str, bytes], best_step: int, records: Sequence[dict[str, Any]]) -> None:
        """Begin to write a checkpoint and the records up to it, as soon as nothing else is being written."""
        self.wait()
        self._begin(self._save, step, files, best_step, list(records))

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        self._work = self._thread.submit(work, *arguments)

    def _look(self, records: list[dict[str, Any]]) -> None:
        try:
            if records:
                self._write_records(records)
            self.stop_asked = self.run.folder.has(STOP)
        except (OSError, NoRoom) as error:  # the next look or checkpoint writes these records too
            print(f"{self.run.folder.uri} cannot be written ({error}); training goes on.", flush=True)

    def _save(self, step: int, files: Mapping[str, bytes], best_step: int, records: list[dict[str, Any]]) -> None:
        try:
            self._write_records(records)
            write_checkpoint(self.run.checkpoints, step, files)
            self.failures, self._error = 0, None
        except (OSError, NoRoom) as error:
            self.failures, self._error = self.failures + 1, error
            print(f"The checkpoint of step {step} could not be written ({error}).", flush=True)
            if self.failures == GIVE_UP:
                raise
            return
        try:
            prune_checkpoints(self.run.checkpoints, step, self.keep, best_step)
        except OSError as error:  # the next one removes them too
            print(f"Older checkpoints could not be removed ({error}).", flush=True)

    def _write_records(self, records: list[dict[str, Any]]) -> None:
        self._lines += map(line, records[len(self._lines) :])
        self.run.folder.write(METRICS, b"".join(self._lines))
