"""A run that something happens to: how far it is, and whether it comes out as one that was left in peace."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from components.runs import Run
from components.settings import Settings
from components.storage import COMMITTED, Folder, checkpoint_steps, read_checkpoint
from dtcm.checkpoint import PROGRESS
from tests.support.processes import below, wait_for
from tests.support.runs import curve, history

EPOCH, STEPS = 12, 60
KILL_AT = 17
"""A step in the middle of the second epoch; a checkpoint of it or of one soon after is awaited before a kill."""


def settings(storage, **more):
    return Settings(storage=str(storage), threads=1, checkpoint_steps=4, **more)


def find_run(storage, experiment):
    """The only run below a storage; None before it is there."""
    folders = list(Path(storage).glob("*/split1/*/manifest.parquet"))
    return Run("run", Folder(str(folders[0].parent)), experiment) if folders else None


def assert_same(run, calm, keep=2):
    """Curve, weights, predictions, and each step once in metrics.jsonl, MLflow and among whole checkpoints."""
    curves = [[(r["kind"], r["step"], figures(r)) for r in one.read_metrics()] for one in (run, calm)]
    last = curves[1][-1][1]
    assert [step for kind, step, _ in curves[0] if kind == "train"] == list(range(1, last + 1))
    assert curves[0] == curves[1]
    assert run.model.read("model.safetensors") == calm.model.read("model.safetensors")
    tables = [pq.read_table(Path(one.folder.uri) / "predictions.parquet") for one in (run, calm)]
    assert tables[0].equals(tables[1])
    assert logged(run) == curve(calm)
    steps = checkpoint_steps(run.checkpoints)
    best = best_step(run, last)
    assert steps[-1] == last
    assert best in steps
    assert len(set(steps) - {best}) <= keep
    assert all(read_checkpoint(run.checkpoints, step) for step in steps)


def best_step(run, step):
    """The best epoch's, as the checkpoint of a step knows it."""
    return json.loads((run.checkpoints / f"step_{step:08d}").read(PROGRESS))["best_step"]


def figures(record):
    """What a record says of the computation, and not of how long it took."""
    return {name: value for name, value in record["metrics"].items() if not name.endswith("_s")}


def logged(run):
    """Steps and values of the curve in MLflow's database, as often as they are there."""
    return history(run, f"sqlite:///{Path(run.folder.uri).parents[2] / 'mlflow.db'}")


def committed(storage, experiment):
    """Steps of the checkpoints that are committed by now."""
    run = find_run(storage, experiment)
    steps = checkpoint_steps(run.checkpoints) if run else []
    return [step for step in steps if (Path(run.checkpoints.uri) / f"step_{step:08d}" / COMMITTED).exists()]


def await_notice(storage, experiment):
    """The step of the checkpoint that a notice makes; no other is made within the epoch."""
    return wait_for(lambda: committed(storage, experiment), "a checkpoint of the notice")[0]


def await_steps(storage, experiment):
    """Wait until workers train."""
    wait_for(lambda: (run := find_run(storage, experiment)) and run.read_metrics(), "a record of a step")
    assert not committed(storage, experiment)


def reached(storage, experiment):
    """Wait for the middle of the run."""
    return wait_for(lambda: [s for s in committed(storage, experiment) if s >= KILL_AT], f"step {KILL_AT}")[-1]


def raylet_of(raylets, word):
    """The raylet below which a process runs, among several."""
    return next((pid for pid in raylets if below(pid, word)), None)
