"""What repeating cannot mend ends a training at once, in the sentence that is meant for the user.

Ray Train replaces workers after any error. Where a worker says BadInput (a disk stays full), or the run folder does
(too many unreadable videos), new workers would only get there again.
"""

import contextlib
from collections.abc import Callable

from ray.train import TrainingFailedError, UserCallback

from dtcm.errors import BadInput


class GiveUp(UserCallback):
    """Called by Ray Train's controller before it decides about new workers; an exception here is its decision."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the BadInput of a worker or of the check, if there is one."""
        for error in worker_exceptions.values():
            if isinstance(error, BadInput):
                raise error
        with contextlib.suppress(OSError):  # a store that is away says nothing about videos
            self.check()


def in_words(error: TrainingFailedError) -> Exception:
    """The BadInput for which a training was given up; the error itself where it was for another."""
    cause = getattr(error, "controller_failure", None)
    return cause if isinstance(cause, BadInput) else error
