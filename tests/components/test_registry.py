import json

import mlflow
import pytest

from components.registry import SYNCED, Tracker, model_name
from components.runs import Run
from components.storage import Folder
from dtcm import config
from dtcm.config import DataConfig, Experiment
from dtcm.data.records import MANIFEST
from tests.support.runs import history_of


@pytest.fixture
def run(tmp_path):
    folder = Folder(str(tmp_path / "run"))
    folder.write("environment.json", json.dumps({"git_commit": "abc", "git_dirty": False}).encode())
    run = Run("night", folder, Experiment())
    run.write_table("manifest.parquet", MANIFEST.empty_table())
    return run


def records(steps):
    return [
        {"kind": "train", "step": step, "epoch": 1, "time_s": 1.7e9 + step, "metrics": {"total": 1 / step, "ar": step}}
        for step in range(1, steps + 1)
    ]


def test_every_record_arrives_once_whoever_sends_it(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = Tracker(run, uri)
    assert first.sync(records(3))
    assert first.sync(records(700))  # more metrics than one call takes
    again = Tracker(run, uri)  # as after a restart
    assert again.sync(records(702))
    assert again.run_id == first.run_id
    assert history_of(first.run_id, uri) == [(step, 1 / step) for step in range(1, 703)]
    assert mlflow.MlflowClient(uri).get_run(first.run_id).data.tags[SYNCED] == "702"


def test_what_a_call_did_whose_answer_was_lost_is_not_done_again(run, tmp_path):
    """The driver died between a call's metrics and its tag; the workers then did the steps again, at other times."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first, client = Tracker(run, uri), mlflow.MlflowClient(uri)
    assert first.sync(records(3))
    client.set_tag(first.run_id, SYNCED, "1")
    later = [record | {"time_s": record["time_s"] + 60} for record in records(5)]
    assert Tracker(run, uri).sync(later)
    assert history_of(first.run_id, uri) == [(step, 1 / step) for step in range(1, 6)]


def test_a_run_that_was_made_and_not_written_down_is_found_again(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = Tracker(run, uri)
    assert first.sync(records(1))
    run.folder.remove("mlflow.json")
    again = Tracker(run, uri)
    assert again.sync(records(2))
    assert again.run_id == first.run_id
    assert json.loads(run.folder.read("mlflow.json")) == {"run_id": first.run_id}


def test_a_record_of_more_figures_than_a_call_takes_is_logged(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(run, uri)
    figures = {f"class/{number}": float(number) for number in range(2500)}
    record = {"kind": "test", "step": 9, "epoch": 1, "time_s": 1.7e9, "metrics": figures}
    assert tracker.sync([*records(2), record])
    found = mlflow.MlflowClient(uri).get_run(tracker.run_id).data.metrics
    assert {name: found[f"test/{name}"] for name in figures} == figures


@pytest.mark.slow
def test_a_server_that_is_down_is_said_once_and_costs_nothing_but_the_delay(run, tmp_path, capsys):
    tracker = Tracker(run, "http://127.0.0.1:9")  # the discard port: nobody listens
    assert not tracker.sync(records(1))
    assert not tracker.sync(records(2))
    assert capsys.readouterr().out.count("MLflow cannot be reached") == 1
    assert tracker.finish({}, {}) == ""


@pytest.mark.parametrize(("dataset", "name"), [("arid6", "dtcm-arid6-split2"), ("my/set: 1", "dtcm-my-set--1-split2")])
def test_models_are_named_after_data_set_and_split_without_what_mlflow_forbids(dataset, name):
    assert model_name(Experiment(data=DataConfig(dataset=dataset, split=2))) == name


def test_parameters_are_the_flat_experiment(run, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(run, uri)
    tracker.sync([])
    params = mlflow.MlflowClient(uri).get_run(tracker.run_id).data.params
    assert params == {name: str(value) for name, value in config.flatten(Experiment()).items()}
