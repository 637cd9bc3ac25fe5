"""Child processes that end when their parent does, however it ends."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

START_S = 300.0
"""So long a child may import what it needs, on a busy machine and from a slow disk; no call's time limit counts it."""


class ChildDied(Exception):
    """A child process ended before it answered."""


class ChildIsLate(Exception):
    """A child process did not answer in time."""


class Child:
    """A spawned process that does one call of a function after the other, and that can be killed.

    For calls of milliseconds: one pipe, where a pool has two queues and two threads to serve them.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """`function`: of a module, so that the process can import it; likewise what it is given and gives."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._starting, its_start = context.Pipe(duplex=False)  # closed at its end once it has started, or died
        self._process = context.Process(target=_serve, args=(function, theirs, its_start), daemon=True)
        self._process.start()
        theirs.close()
        its_start.close()
        self.pending = 0
        """Calls that were begun and have not been answered."""

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether its process runs, or is stopped."""
        return self._process.is_alive()

    def begin(self, argument: object) -> None:
        """Hand over a call; its turn comes after those that were begun before. A dead child says so in `result`."""
        self.pending += 1
        with suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send(argument)

    def answers_within(self, seconds: float) -> bool:
        """Wait until the next call is answered, or the process has died, but no longer than this."""
        return self._pipe.poll(seconds)

    def result(self, timeout_s: float) -> Any:
        """What the function gave, or raises what it raised, for the first call that has not been answered.

        Raises ChildDied, and ChildIsLate after so many seconds, which count from when the child has started.
        """
        if not self._starting.poll(START_S) or not self._pipe.poll(timeout_s):
            raise ChildIsLate
        try:
            found, error = self._pipe.recv()
        except (EOFError, ConnectionResetError) as died:
            raise ChildDied from died
        self.pending -= 1
        if error is not None:
            raise error
        return found

    def kill(self) -> None:
        """End the process, whatever it does. What was begun is not answered any more."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._starting.close()


def process_pool(processes: int) -> ProcessPoolExecutor:
    """A pool of spawned processes that do not outlive this one, not even if it is killed.

    Not forked: a decoder or thread inherited through fork can hang.
    """
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _serve(function: Callable[[Any], Any], pipe: Connection, start: Connection) -> None:
    _end_with_parent()
    start.close()
    while True:
        argument = pipe.recv()
        try:
            answer = function(argument), None
        except Exception as error:
            answer = None, error
        pipe.send(answer)


def _end_with_parent() -> None:
    # A pool's idle child waits at a queue that it could itself write to, and a busy one looks at no pipe: neither sees
    # its parent die.
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
