"""The one exception that is meant for the person at the keyboard."""


class BadInput(ValueError):
    """Input that the user can mend. Its message is one sentence that says what to do.

    Entry points print the message without a traceback and exit with status 2.
    """
