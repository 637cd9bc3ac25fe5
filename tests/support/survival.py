"""A run that something happens to: how far it is, and whether it comes out as one that was left in peace."""

import json
from pathlib import Path

from components.runs import Run
from components.settings import Settings
from components.storage import COMMITTED, Folder, checkpoint_steps, read_checkpoint
from dtcm.checkpoint import PROGRESS
from tests.support.processes import below, threads, wait_for
from tests.support.runs import assert_in_mlflow, records

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
    """Records, weights, predictions, each once in metrics.jsonl and MLflow, and no more checkpoints than are kept."""
    assert_same_results(run, calm)
    assert_kept(run, records(calm)[-1][1], keep)


def assert_kept(run, last, keep=2):
    """The last step's checkpoint is there, the best epoch's, and no more than are kept; all are whole."""
    steps, best = checkpoint_steps(run.checkpoints), best_step(run, last)
    assert steps[-1] == last
    assert best in steps
    assert len(set(steps) - {best}) <= keep
    assert all(read_checkpoint(run.checkpoints, step) for step in steps)


def assert_same_results(run, calm):
    """What a run ends with, its checkpoints but for the last left aside."""
    last = records(calm)[-1][1]
    assert [step for kind, step, _ in records(run) if kind == "train"] == list(range(1, last + 1))
    assert records(run) == records(calm)
    assert_in_mlflow(run, f"sqlite:///{Path(run.folder.uri).parents[2] / 'mlflow.db'}")
    assert run.model.read("model.safetensors") == calm.model.read("model.safetensors")
    assert run.read_table("predictions.parquet").equals(calm.read_table("predictions.parquet"))
    assert read_checkpoint(run.checkpoints, last) == read_checkpoint(calm.checkpoints, last)


def best_step(run, step):
    """The best epoch's, as the checkpoint of a step knows it."""
    return json.loads((run.checkpoints / f"step_{step:08d}").read(PROGRESS))["best_step"]


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


def is_rank_0(worker):
    """Whether it is the training worker that keeps the store through which all of them find each other."""
    return any("tcpstore" in name for name in threads(worker))


def raylet_of(raylets, word):
    """The raylet below which a process runs, among several."""
    return next((pid for pid in raylets if below(pid, word)), None)
