import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import mlflow
import pytest
import ray

from components.ledger import Ledger
from components.settings import Settings
from components.sweep import Limits, run_sweep, trials_at_once
from components.sweep_plan import Sweep, trial
from components.sweep_report import report
from components.sweep_state import run_of, sweep_folder, validated
from dtcm.config import from_json, with_overrides
from dtcm.errors import BadInput

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)


class Swept(NamedTuple):
    sweep: Sweep
    settings: Settings
    events: list
    """Of the ledger after each of two commands."""
    text: str

    def runs(self):
        return {k: run_of(trial(self.sweep, {"model.k": k}, 0), self.settings) for k in (4, 1, 2)}


@pytest.fixture(scope="session")
def swept(cluster, tiny, tmp_path_factory):
    """A sweep of k = 4, 1 and 2 by two commands: one with a budget of two trials, of which one fails; one without."""
    settings = Settings(storage=str(tmp_path_factory.mktemp("swept")))
    sweep = Sweep("grid", with_overrides(tiny, {"optim.epochs": 1}), "factors", {"model.k": (1, 2)}, (0,), 0, {})
    ledger, bad = Ledger(sweep_folder(sweep, settings)), run_of(trial(sweep, {"model.k": 1}, 0), settings).folder
    bad.write("config.json", b"{}")  # of another experiment: this trial cannot run
    run_sweep(sweep, settings, Limits(trials=2))
    events = [ledger.events()]
    bad.remove("config.json")
    run_sweep(sweep, settings, Limits())
    events.append(ledger.events())
    return Swept(sweep, settings, events, report(sweep, settings))


def states(events):
    return [(event["point"]["model.k"], event["event"]) for event in events if event["event"] == "finished"]


def started(events):
    return [event["point"]["model.k"] for event in events if event["event"] == "started"]


@pytest.mark.slow
def test_a_budget_of_trials_ends_the_sweep(swept):
    assert sorted(started(swept.events[0])) == [1, 4]


@pytest.mark.slow
def test_a_bad_trial_ends_itself_and_nothing_else(swept):
    assert states(swept.events[0]) == [(4, "finished")]
    (failed,) = [event for event in swept.events[0] if event["event"] == "failed"]
    assert failed["trial"] == swept.runs()[1].name
    assert "belongs to another experiment" in failed["reason"]


@pytest.mark.slow
def test_the_same_command_does_what_is_missing_and_nothing_twice(swept):
    assert sorted(started(swept.events[1])) == [1, 1, 2, 4]
    assert sorted(states(swept.events[1])) == [(1, "finished"), (2, "finished"), (4, "finished")]
    assert "3 of 3 trials finished." in swept.text


@pytest.mark.slow
def test_a_trial_is_an_ordinary_run_and_the_ledger_has_its_figures(swept):
    trials = Ledger(sweep_folder(swept.sweep, swept.settings)).trials()
    for k, run in swept.runs().items():
        assert from_json(run.folder.read("config.json").decode()) == with_overrides(swept.sweep.base, {"model.k": k})
        (epoch,) = validated(run)
        assert trials[run.name]["val"] == epoch["metrics"]
        assert trials[run.name]["test"] == json.loads(run.folder.read("result.json"))


@pytest.mark.slow
def test_nothing_of_tune_and_no_lock_is_left(swept):
    assert sweep_folder(swept.sweep, swept.settings).names() == [
        "best.json", "mlflow.json", "report", "sweep.json", "trials.jsonl",
    ]  # fmt: skip


@pytest.mark.slow
def test_mlflow_has_a_parent_with_a_child_for_each_trial(swept):
    client = mlflow.MlflowClient(swept.settings.mlflow_uri)
    folder = sweep_folder(swept.sweep, swept.settings)
    parent = client.get_run(json.loads(folder.read("mlflow.json"))["run_id"])
    assert parent.info.status == "FINISHED"
    assert json.loads(parent.data.params["model.k"]) == [1, 2]
    found = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/sweep.md", "report/model.k.png", "report/pareto.png"} <= found
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {child.data.params["model.k"] for child in children} == {"4", "1", "2"}
    assert {child.data.params["seed"] for child in children} == {"0"}
    assert all("train/total" in child.data.metrics and child.info.status == "FINISHED" for child in children)


@pytest.mark.slow
def test_the_challenger_is_the_best_trials_model(swept):
    best = from_json(sweep_folder(swept.sweep, swept.settings).read("best.json").decode())
    version = json.loads(swept.runs()[best.model.k].folder.read("result.json"))["model_version"]
    name, _, number = version.partition(" version ")
    client = mlflow.MlflowClient(swept.settings.mlflow_uri)
    assert str(client.get_model_version_by_alias(name, "challenger").version) == number


@pytest.mark.slow
def test_a_sweep_of_that_name_with_other_fields_is_refused(swept):
    wider = Sweep("grid", swept.sweep.base, "factors", {"model.k": (1, 2, 8)}, (0,), 0, {})
    with pytest.raises(BadInput, match="begun with other fields"):
        run_sweep(wider, swept.settings, Limits())


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 5, 8, 64, 65])
def test_each_trial_has_a_cpu_to_decode(cpus, workers):
    trials = trials_at_once(cpus, None, workers)
    assert trials * (workers + 1) <= cpus < (trials + 1) * (workers + 1)
    assert trials_at_once(cpus, 2 * workers, workers) == min(trials, 2)
    assert trials_at_once(cpus, workers, workers, gpus_per_worker=0.5) == min(trials, 2)


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        ({"data.val_fraction": 0.0}, {}, "validation part decides"),
        ({}, {"run": "mine"}, "leave out --settings.run"),
        ({}, {"workers": 4}, "4 workers need 5 CPUs"),
    ],
)
def test_what_no_sweep_can_be_is_said_before_the_first_trial(cluster, tiny, tmp_path, change, settings, sentence):
    sweep = Sweep("none", with_overrides(tiny, change), "factors", {"model.k": (1,)}, (0,), 0, {})
    with pytest.raises(BadInput, match=sentence):
        run_sweep(sweep, Settings(storage=str(tmp_path), **settings), Limits())
    assert not list(tmp_path.rglob("trials.jsonl"))


def test_a_value_that_cannot_be_trained_is_named_before_the_first_trial(cluster, tiny, tmp_path):
    sweep = Sweep("none", tiny, "search", {"data.crop_px": (24, 12)}, (0,), 2, {})
    with pytest.raises(BadInput, match="no 16x16 region"):
        run_sweep(sweep, Settings(storage=str(tmp_path)), Limits())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_trial_that_asha_stops_trains_no_longer(cluster, tiny, tmp_path):
    # The sampler of seed 0 proposes the second choice first, so that the first, which cannot learn, falls behind.
    base, choices = with_overrides(tiny, {"optim.epochs": 40}), (1e-12, 1e-3)
    sweep, settings = Sweep("hunt", base, "search", {"optim.lr": choices}, (0,), 2, {}), Settings(storage=str(tmp_path))
    run_sweep(sweep, settings, Limits(grace_epochs=1, concurrent=1))
    trials = Ledger(sweep_folder(sweep, settings)).trials()
    good, bad = (run_of(trial(sweep, {"optim.lr": lr}, 0), settings) for lr in (1e-3, 1e-12))
    assert trials[good.name]["event"] == "finished"
    assert len(validated(good)) == 40
    assert trials[bad.name]["event"] == "stopped"
    client = mlflow.MlflowClient(settings.mlflow_uri)
    assert client.get_run(json.loads(bad.folder.read("mlflow.json"))["run_id"]).info.status == "KILLED"
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:  # until its workers are gone
        assert time.monotonic() < deadline
    assert trials[bad.name]["epochs"] <= len(validated(bad)) < 40
    assert not bad.folder.has("result.json")


@pytest.mark.slow
def test_hours_end_the_sweep_and_the_report_says_what_was_cut_off(cluster, tiny, tmp_path):
    sweep = Sweep("cut", with_overrides(tiny, {"optim.epochs": 5000}), "factors", {"model.k": (4,)}, (0,), 0, {})
    settings, one, hours = Settings(storage=str(tmp_path)), trial(sweep, {"model.k": 4}, 0), 15 / 3600
    while not validated(run_of(one, settings)):
        run_sweep(sweep, settings, Limits(hours=hours))
        hours *= 2
    assert Ledger(sweep_folder(sweep, settings)).trials()[one.name]["event"] == "started"
    assert "cut off; the same command goes on with it" in report(sweep, settings)
    assert not sweep_folder(sweep, settings).has("best.json")


@pytest.mark.slow
def test_a_sweep_on_s3_keeps_its_ledger_there(cluster, s3, tiny, tmp_path):
    sweep = Sweep("far", with_overrides(tiny, {"optim.epochs": 1}), "factors", {"model.k": (4,)}, (0,), 0, {})
    settings = Settings(storage=f"{s3}/{tmp_path.name}", tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    for _ in range(2):
        run_sweep(sweep, settings, Limits(exclusive=True))
    assert [event["event"] for event in Ledger(sweep_folder(sweep, settings)).events()] == ["started", "finished"]
    assert "1 of 1 trials finished." in report(sweep, settings)
    assert sweep_folder(sweep, settings).has("best.json")


def command(tiny, storage):
    """The command line of a sweep of k = 4, 1, 2, each of 10 epochs."""
    data = {"root": tiny.data.root, "frames": 8, "stride": 1, "width-px": 40, "height-px": 30, "crop-px": 24}
    file = Path(storage).with_suffix(".yaml")
    file.write_text("method: factors\ncentre: {model.k: 4}\nfields: {model.k: [1, 2]}\n")
    return [
        sys.executable, "pipelines/sweep_arid.py", "--sweep", str(file), "--seeds", "0", "--name", "killed",
        *(f"--experiment.data.{name}={value}" for name, value in data.items()), "--experiment.data.val-fraction=0.3",
        "--experiment.optim.epochs=10", "--limits.concurrent=2", f"--settings.storage={storage}",
    ]  # fmt: skip


def descendants(pid):
    """Ids and command lines of the processes that a process started, and theirs."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
    found, new = {}, {pid}
    while new := {child for child, parent in parents.items() if parent in new} - set(found):
        found |= {child: lines[child] for child in new}
    return found


@pytest.mark.slow
def test_after_a_killed_trial_and_a_killed_driver_the_same_command_loses_nothing(tiny, tmp_path):
    process = subprocess.Popen(
        command(tiny, tmp_path / "runs"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    killed = False
    for line in process.stdout or ():
        if not killed and "epoch 2 of" in line:
            # The processes of Tune's trials, each of which owns a training.
            trials = [pid for pid, text in descendants(process.pid).items() if "ImplicitFunc" in text]
            os.kill(trials[0], signal.SIGKILL)
            killed = True
        if "finished, val" in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert killed
    folder = tmp_path / "runs" / tiny.data.name / "sweeps" / "killed"
    before = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    done = {event["trial"] for event in before if event["event"] == "finished"}
    assert 0 < len(done) < 3
    again = subprocess.run(command(tiny, tmp_path / "runs"), cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    events = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    finished = [event["trial"] for event in events if event["event"] == "finished"]
    assert len(finished) == len(set(finished)) == 3
    assert not done & {event["trial"] for event in events[len(before) :]}
    assert "3 of 3 trials finished." in again.stdout
    for run in (tmp_path / "runs" / tiny.data.name / "split1").iterdir():
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [record["epoch"] for record in records if record["kind"] == "val"] == list(range(1, 11))
