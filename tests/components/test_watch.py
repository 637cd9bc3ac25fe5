import mlflow
import pytest

from components.registry import Tracker
from components.runs import Run
from components.storage import Folder
from components.watch import RecordFile, watched
from dtcm.config import Experiment
from dtcm.data.records import MANIFEST


@pytest.fixture
def run(tmp_path):
    return Run("run", Folder(str(tmp_path)), Experiment())


def records(*steps, at_s=0.0):
    return [
        {"kind": "train", "step": step, "epoch": 1, "time_s": at_s + step, "metrics": {"total": 1 / step}}
        for step in steps
    ]


def test_records_are_read_on_and_those_made_again_take_the_place_of_the_old(run):
    file = RecordFile(run)
    assert (file.read_on(), file.records) == (0, [])
    run.write_metrics(records(1, 2, 3))
    assert (file.read_on(), file.records) == (0, records(1, 2, 3))
    run.write_metrics(records(1, 2, 3, 4, 5))
    assert (file.read_on(), file.records) == (3, records(1, 2, 3, 4, 5))
    # Workers were replaced and have gone further than before already.
    again = records(1, 2) + records(3, 4, 5, 6, at_s=100.0)
    run.write_metrics(again)
    assert (file.read_on(), file.records) == (2, again)
    run.write_metrics(again[:4])
    assert (file.read_on(), file.records) == (4, again[:4])


def test_records_that_are_made_again_are_not_sent_to_mlflow_again(run, tmp_path):
    run.folder.write("environment.json", b'{"git_commit": "abc", "git_dirty": false}')
    run.write_table("manifest.parquet", MANIFEST.empty_table())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(run, uri)
    for known in (
        records(1, 2, 3, 4),
        records(1, 2) + records(3, at_s=9.0),
        records(1, 2) + records(3, 4, 5, at_s=9.0),
    ):
        assert tracker.sync(known)
    history = mlflow.MlflowClient(uri).get_metric_history(tracker.run_id, "train/total")
    assert sorted((point.step, point.value) for point in history) == [(step, 1 / step) for step in (1, 2, 3, 4, 5)]


def test_every_epoch_has_its_line_however_many_have_ended_since_the_last_look(run, capsys):
    def step(kind, number, epoch, **values):
        metrics = {"total": 1.0, "step_s": 0.1, "wait_s": 0.02 * number, **values}
        return {"kind": kind, "step": number, "epoch": epoch, "time_s": 0.0, "metrics": metrics}

    with watched(run, None, 3):
        run.write_metrics(
            [
                step("train", 1, 1),
                step("val", 1, 1, top1=0.25),
                step("train", 2, 2),
                step("val", 2, 2, top1=0.5),
                step("train", 3, 3),
            ]
        )
    first, second = capsys.readouterr().out.splitlines()
    assert "epoch   1  step 1/3" in first
    assert "val top-1 25.0 %" in first
    assert "100 ms/step  20 % waiting for data" in first
    assert "epoch   2  step 2/3" in second
    assert "val top-1 50.0 %" in second
    assert "100 ms/step  30 % waiting for data" in second  # 20 ms of the first step, 40 ms of the second
