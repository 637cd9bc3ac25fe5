"""Child processes that end when their parent does, however it ends."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def process_pool(processes: int) -> ProcessPoolExecutor:
    """A pool of spawned processes that do not outlive this one, not even if it is killed.

    Not forked: a decoder or thread inherited through fork can hang.
    """
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    # A pool's idle child waits at a queue that it could itself write to, so it does not see its parent die.
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
