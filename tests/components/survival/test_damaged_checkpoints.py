"""Checkpoints are damaged between two commands, and what a run begins with."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from components.runs import Run
from components.settings import Settings
from components.state import INITIAL
from components.storage import COMMITTED, Folder, checkpoint_steps
from components.trainer import best_weights, train
from components.workflow import train_test_register
from dtcm.checkpoint import OPTIMIZER, WEIGHTS
from dtcm.config import with_overrides
from dtcm.models.dtcm import build
from tests.support.survival import EPOCH, STEPS, assert_same, assert_same_results, best_step, find_run, settings

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def kept(cluster, calm, experiment, tmp_path_factory):
    """A storage with the run and every checkpoint that could be written beside it."""
    storage = tmp_path_factory.mktemp("kept")
    often = Settings(storage=str(storage), threads=1, checkpoint_minutes=1e-6, keep_checkpoints=STEPS)
    assert_same(train_test_register(experiment, often).run, calm, keep=STEPS)
    return storage


def flip(file):
    """Turn over one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def flip_weights(checkpoint):
    flip(checkpoint / WEIGHTS)


def halve(checkpoint):
    """As a write that was cut off: half a file, and no word that all is there."""
    (checkpoint / COMMITTED).unlink()
    os.truncate(checkpoint / OPTIMIZER, (checkpoint / OPTIMIZER).stat().st_size // 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "damage"),
    [("the latest", flip_weights), ("the latest", halve), ("the best", flip_weights), ("both", flip_weights)],
)
def test_a_damaged_checkpoint(calm, kept, experiment, tmp_path, capsys, which, damage):
    """It is not used and said so, the one before it is, and what a run ends with does not depend on it."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    run = find_run(tmp_path, experiment)
    run.folder.remove("result.json")
    steps = checkpoint_steps(run.checkpoints)
    best = best_step(run, STEPS)
    last = max(step for step in steps if best < step < STEPS)
    assert any(step % EPOCH for step in steps)
    for step in steps:
        if step > last:
            run.checkpoints.remove(f"step_{step:08d}")
    damaged = {"the latest": [last], "the best": [best], "both": [best, last]}[which]
    for step in damaged:
        damage(Path(run.checkpoints.uri) / f"step_{step:08d}")
    again = train_test_register(experiment, settings(tmp_path, keep_checkpoints=STEPS)).run
    output = capsys.readouterr().out
    assert (f"step_{last:08d} is incomplete or damaged" in output) == (last in damaged)
    assert f", from step {max(step for step in steps if step <= last and step not in {last} & set(damaged))}" in output
    for step in damaged:
        if step != last:
            again.checkpoints.remove(f"step_{step:08d}")
    assert_same_results(again, calm)


@pytest.mark.slow
def test_a_training_begins_from_initial_weights(cluster, calm, tiny, tmp_path):
    """With a learning rate of 0 the parameters stay what they were at the beginning."""
    run = Run("run", Folder(str(tmp_path)), with_overrides(tiny, {"optim.lr": 0.0, "optim.epochs": 1}))
    initial = calm.model.read("model.safetensors")
    run.folder.write(INITIAL, initial)
    train(run, calm.read_table("manifest.parquet"), 2, settings(tmp_path), use_gpu=False)
    begun, ended = load(initial), load(best_weights(run))
    model = build(tiny.model, 2, tiny.data.frames, tiny.data.crop_px)
    assert not [name for name, _ in model.named_parameters() if not torch.equal(begun[name], ended[name])]
