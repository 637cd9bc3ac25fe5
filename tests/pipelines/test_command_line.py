import signal

import pytest

from dtcm.errors import BadInput, Stopped
from pipelines.command_line import run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (BadInput("Name a folder that exists."), 2, "error: Name a folder that exists.\n"),
        (Stopped("Stopped with a checkpoint of step 7.", 143), 143, "Stopped with a checkpoint of step 7.\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from the last checkpoint\n"),
        # What Ray raises in a driver that is sent SIGTERM.
        (SystemExit(signal.SIGTERM), 143, "interrupted; the same command goes on from the last checkpoint\n"),
        (SystemExit(1), 1, ""),
    ],
)
def test_an_entry_point_ends_with_a_sentence_and_the_status_that_shells_know(capsys, error, status, said):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == status
    assert capsys.readouterr().err == said
