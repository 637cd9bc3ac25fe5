import signal
import subprocess
import sys

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


@pytest.mark.parametrize("pipeline", ["register_run", "train_arid"])  # what fits in Python's buffer, and what does not
def test_help_that_nobody_reads_on_ends_without_a_word(pipeline):
    command = [sys.executable, "-m", f"pipelines.{pipeline}", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        assert process.communicate(timeout=120)[1] == b""
    assert process.returncode == 1


def test_another_pipe_that_breaks_is_an_error(capfd):
    def main():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(main)
