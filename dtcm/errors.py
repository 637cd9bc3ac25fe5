"""The exceptions that are meant for the person at the keyboard."""


class BadInput(ValueError):
    """Input that the user can mend. Its message is one sentence that says what to do.

    Entry points print the message without a traceback and exit with status 2.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # what a library says, quoted in it, may go over several lines


class Stopped(Exception):
    """A training that was told to stop and did. Its message is one sentence that says how to go on."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """Exit status of the process, as shells give it for a signal: 143 or 130."""
