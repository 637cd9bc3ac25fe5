import json
import threading

import pytest

from components.notice import STOP
from components.runs import Run
from components.saver import Saver
from components.storage import Folder, checkpoint_steps, read_checkpoint
from dtcm.config import Experiment
from dtcm.errors import BadInput


@pytest.fixture
def run(tmp_path):
    return Run("run", Folder(str(tmp_path)), Experiment())


def records(steps):
    return [{"kind": "train", "step": step, "metrics": {"total": 1 / step}} for step in range(1, steps + 1)]


def files(step):
    return {"weights": b"%d" % step}


def test_checkpoints_follow_their_records_and_are_kept_by_policy(run):
    saver = Saver(run, keep=2)
    for step in (1, 2, 3, 4):
        saver.save(step, files(step), best_step=1, records=records(step))
    saver.finish()
    assert run.read_metrics() == records(4)
    assert checkpoint_steps(run.checkpoints) == [1, 3, 4]
    assert read_checkpoint(run.checkpoints, 4) == files(4)


def test_nobody_waits_for_a_slow_store(run, monkeypatch):
    slow, write = threading.Event(), Folder.write
    monkeypatch.setattr(Folder, "write", lambda *arguments: slow.wait(60) and write(*arguments))
    saver = Saver(run, keep=2)
    saver.save(1, files(1), best_step=0, records=records(1))
    assert not saver.idle()
    saver.look(records(2))  # nothing: the checkpoint is still being written
    slow.set()
    saver.finish()
    assert saver.idle()
    assert run.read_metrics() == records(1)
    assert read_checkpoint(run.checkpoints, 1) == files(1)


def test_a_look_writes_the_records_and_finds_stop(run):
    saver = Saver(run, keep=2)
    saver.look(records(3))
    saver.wait()
    assert run.read_metrics() == records(3)
    assert not saver.stop_asked
    run.folder.write(STOP, b"15")
    saver.look()
    saver.wait()
    assert saver.stop_asked


def test_a_checkpoint_that_cannot_be_written_is_made_up_for_by_the_next(run, tmp_path, capsys):
    saver = Saver(run, keep=2)
    (tmp_path / "checkpoints").write_text("in the way of the folder")
    saver.save(1, files(1), best_step=0, records=records(1))
    saver.wait()
    assert saver.failures == 1
    assert "The checkpoint of step 1 could not be written" in capsys.readouterr().out
    (tmp_path / "checkpoints").unlink()
    saver.save(2, files(2), best_step=0, records=records(2))
    saver.finish()
    assert saver.failures == 0
    assert read_checkpoint(run.checkpoints, 2) == files(2)


def test_a_store_that_stays_down_ends_the_training(run, tmp_path):
    saver = Saver(run, keep=2)
    (tmp_path / "checkpoints").write_text("in the way of the folder")
    for step in (1, 2):
        saver.save(step, files(step), best_step=0, records=records(step))
    with pytest.raises(OSError, match="checkpoints"):
        saver.finish()  # the last one may not be missing
    saver.save(3, files(3), best_step=0, records=records(3))
    with pytest.raises(OSError, match="checkpoints"):
        saver.wait()


def test_what_trying_again_does_not_mend_ends_the_training_at_once(run, monkeypatch):
    def full(*_):
        raise BadInput("There is no room; make some.")

    monkeypatch.setattr(Folder, "write", full)
    saver = Saver(run, keep=2)
    saver.save(1, files(1), best_step=0, records=records(1))
    with pytest.raises(BadInput, match="no room"):
        saver.wait()


def test_a_store_that_cannot_be_looked_at_does_not_end_the_training(run, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").mkdir()
    saver = Saver(run, keep=2)
    saver.look(records(1))
    saver.wait()
    assert "training goes on" in capsys.readouterr().out
    (tmp_path / "metrics.jsonl").rmdir()
    saver.look(records(2))
    saver.finish()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
