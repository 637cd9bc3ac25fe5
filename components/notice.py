"""How a training is told to end early. It then ends after the step in hand, with a checkpoint of that step.

Three ways: the file STOP in the run folder, which the driver writes on SIGTERM or Ctrl-C and anybody may write; SIGTERM
to a worker, as from a machine that shuts down; and Ray, which drains a worker's node. After the first the run is over
until the same command is given again; after the others the workers are replaced and go on by themselves.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from components.loopback import bind_store
from components.runs import Run
from dtcm.errors import Stopped

STOP = "STOP"
"""In the run folder: the number of the signal that the driver was sent; of SIGTERM if it
holds anything else, as when a person made it."""

sigterm = threading.Event()
"""Whether this worker was sent SIGTERM."""


class NoticeConfig(TorchConfig):
    """Ray Train's set-up of torch in the workers, which also take SIGTERM as notice; see `loopback` for its store."""

    @property
    def backend_cls(self) -> type:
        """What Ray runs around the workers' life."""
        return _NoticeBackend


class _NoticeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(bind_store)
        super().on_start(worker_group, backend_config)

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        super().on_training_start(worker_group, backend_config)
        # In the workers' main threads, the only ones that may set a handler; training runs in another thread.
        worker_group.execute(_listen)


def _listen() -> None:
    """Take the first SIGTERM as a notice, the second as the end."""

    def note(*_: object) -> None:
        sigterm.set()
        signal.signal(signal.SIGTERM, end)

    end = signal.signal(signal.SIGTERM, note)


def run_stoppable(run: Run, body: Callable[[], object]) -> None:
    """Run the body, which trains, in a thread; meanwhile SIGTERM and Ctrl-C are passed on to the workers, once.

    A second signal ends the process as it would without this. Outside of the main thread, where no signals arrive,
    the body is just run.
    """
    if threading.current_thread() is not threading.main_thread():
        body()
        return
    errors: list[BaseException] = []

    def train() -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    # In the main thread Ray Train would answer Ctrl-C by killing the workers, during training and ever after.
    thread = threading.Thread(target=train, name="train", daemon=True)
    with _passed_on(run):
        thread.start()
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _passed_on(run: Run) -> Generator[None]:
    """While the body runs, the first SIGTERM or SIGINT writes STOP."""
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in known.items():
            signal.signal(number, handler)

    def stop(number: int, _: FrameType | None) -> None:
        restore()
        print("Stopping after the step in hand, with a checkpoint; a second signal ends at once.", flush=True)
        run.folder.write(STOP, str(number).encode())

    for number in known:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


def check_not_stopped(run: Run, step: int) -> None:
    """Raise Stopped if the training was told to stop.

    Args:
        run: the run.
        step: steps that its last checkpoint has done.
    """
    if run.folder.has(STOP):
        said = run.folder.read(STOP).strip()
        number = int(said) if said.isdigit() else signal.SIGTERM
        run.folder.remove(STOP)
        raise Stopped(f"Stopped with a checkpoint of step {step}; the same command goes on from there.", 128 + number)
