"""How steps are computed is chosen once for a run, kept with the reason, and said."""

import json
import threading

import pytest

from components.execution import FILE, described
from components.runs import Run
from components.state import begin
from components.storage import Folder
from components.watch import _follow
from dtcm.config import with_overrides
from dtcm.execution import PLAIN, Execution


@pytest.fixture
def run(small, tmp_path):
    """A run that leaves something to choose on a CPU too."""
    asked = with_overrides(small, {"optim.precision": "bf16", "optim.memory_format": "channels-last"})
    return Run("run", Folder(str(tmp_path / "run")), asked)


def record(step):
    metrics = {"total": 1.0, "step_s": 0.1, "wait_s": 0.0}
    return {"kind": "train", "step": step, "epoch": 1, "time_s": 0.0, "metrics": metrics}


class Looks(threading.Event):
    """Stands for the pauses of whoever follows a training: another step is done in each, three in all."""

    def __init__(self, run):
        super().__init__()
        self.run, self.steps = run, 0

    def wait(self, timeout=None):
        self.steps += 1
        self.run.write_metrics([record(step) for step in range(1, self.steps + 1)])
        return self.steps == 3


def test_what_was_chosen_and_why_is_kept_and_printed_once(alone, run, capsys):
    assert begin(run, 2, 1, None).execution == Execution("bf16", "channels-last")
    kept = json.loads(run.folder.read(FILE))
    why = kept.pop("why")
    assert kept == {"precision": "bf16", "memory_format": "channels-last", "compile": False}
    assert why.startswith("bf16 channels-last: the fastest right step of those allowed (fp32 contiguous ")
    _follow(run, None, 3, Looks(run))
    assert [line for line in capsys.readouterr().out.splitlines() if "Steps" in line] == [f"Steps: {why}"]


def test_a_run_that_goes_on_says_that_it_computes_as_it_began(alone, run, small):
    begin(run, 2, 1, None)
    left_open = Run(run.name, run.folder, small)  # a CPU's own choice would be the plain way
    assert begin(left_open, 2, 1, None).execution == Execution("bf16", "channels-last")
    assert described(run) == "Steps: bf16 channels-last: as the run began"


def test_where_there_is_nothing_to_choose_it_is_kept_and_nothing_said(alone, run, small, capsys):
    plain = Run(run.name, run.folder, small)
    assert described(plain) == ""
    assert begin(plain, 2, 1, None).execution == PLAIN
    assert json.loads(plain.folder.read(FILE))["precision"] == "fp32"
    _follow(plain, None, 3, Looks(plain))
    assert "Steps" not in capsys.readouterr().out
