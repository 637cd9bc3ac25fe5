import json

import pytest
import torch
from torch import nn

from components.runs import Run
from components.state import Progress, State, begin
from components.storage import Folder
from dtcm import checkpoint
from dtcm.config import LossConfig, ModelConfig, OptimConfig, with_overrides
from dtcm.models.dtcm import build
from dtcm.step import make_optimizer, train_step


def a_state():
    model = build(ModelConfig(classifier="small3d"), 2, frames=4, size=16)
    return State(model, None, make_optimizer(model, OptimConfig()))


def advance(state):
    """A step of training, as far as a state can tell."""
    state.progress.step += 1
    with torch.no_grad():
        next(state.model.parameters()).add_(1.0)


def close_epoch(state, top1):
    advance(state)
    state.choose({"top1": top1, "cross_entropy": 1.0})
    return state.pack()


def test_every_checkpoint_has_the_best_epochs_weights_whenever_it_is_made():
    state = a_state()
    first = close_epoch(state, 0.5)
    assert checkpoint.best_weights(first) == first[checkpoint.WEIGHTS]
    advance(state)
    within = state.pack()
    assert checkpoint.best_weights(within) == first[checkpoint.WEIGHTS] != within[checkpoint.WEIGHTS]
    second = close_epoch(state, 0.8)
    assert checkpoint.best_weights(second) == second[checkpoint.WEIGHTS]
    third = close_epoch(state, 0.7)
    assert checkpoint.best_weights(third) == second[checkpoint.WEIGHTS] != third[checkpoint.WEIGHTS]
    assert json.loads(third[checkpoint.PROGRESS])["best_step"] == 3


def test_what_was_packed_stays_as_it_was_while_training_goes_on():
    state = a_state()
    files = state.pack()
    before = dict(files)
    advance(state)
    assert files == before
    assert state.pack()[checkpoint.WEIGHTS] != files[checkpoint.WEIGHTS]


def test_the_best_epoch_is_that_of_the_highest_accuracy_then_the_lowest_cross_entropy():
    state = a_state()
    for step, top1, cross_entropy in ((3, 0.5, 1.0), (6, 0.5, 0.9), (9, 0.5, 1.1), (12, 0.4, 0.1)):
        state.progress.step = step
        state.choose({"top1": top1, "cross_entropy": cross_entropy})
    assert state.progress == Progress(12, 6, (0.5, -0.9))
    state.choose({})  # without validation: the latest
    assert state.progress.best_step == 12


@pytest.mark.parametrize(("checkpointing", "calls"), [(False, 1), (True, 2)])
def test_a_training_that_is_asked_to_computes_its_blocks_again(alone, small, tmp_path, checkpointing, calls):
    experiment = with_overrides(small, {"optim.checkpointing": checkpointing})
    state = begin(Run("run", Folder(str(tmp_path)), experiment), num_classes=2, world=1, files=None)
    counted = {"enhancer": 0, "classifier": 0}

    def count(part):
        counted[part] += 1

    for part in counted:
        layers = state.model.get_submodule(part).modules()
        first = next(layer for layer in layers if isinstance(layer, (nn.Conv2d, nn.Conv3d)))
        first.register_forward_hook(lambda *_, part=part: count(part))
    clips = torch.randint(0, 60, (2, 4, 16, 16, 3), dtype=torch.uint8)
    train_step(state.model, state.optimizer, clips, torch.tensor([0, 1]), LossConfig())
    assert counted == {"enhancer": calls, "classifier": calls}
