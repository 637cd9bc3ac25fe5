"""What a step trains, by the settings of Table VI."""

import pytest
import torch

from dtcm.config import Experiment, LossConfig, ModelConfig, OptimConfig, with_overrides
from dtcm.losses import joint
from dtcm.models import build
from dtcm.step import make_optimizer, set_trained, total_epochs, train_step, trained_part

PARTS = ("enhancer", "classifier")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(ModelConfig(classifier="r3d-18", k=2), num_classes=3, frames=8, size=32)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    clips = torch.randint(0, 60, (2, 8, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return clips, torch.tensor([0, 2])


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("trained", PARTS)
def test_the_part_that_rests_keeps_weights_and_batch_statistics(model, batch, trained):
    optimizer = make_optimizer(model, OptimConfig(lr=1e-3))
    before = {name: state(model.get_submodule(name)) for name in PARTS}
    set_trained(model, trained)
    train_step(model, optimizer, batch[0], batch[1], LossConfig(setting="two-stage"), trained=trained)
    for name in PARTS:
        part = model.get_submodule(name)
        assert (changed(part, before[name]) != set()) == (name == trained)
        if name == trained:
            assert {key for key, _ in part.named_parameters()} <= changed(part, before[name])


def test_a_second_stage_leaves_no_trace_of_the_first(model, batch):
    """AdamW would go on by its momentum if the first stage's gradients stayed."""
    optimizer = make_optimizer(model, OptimConfig(lr=1e-3))
    set_trained(model, "enhancer")
    train_step(model, optimizer, batch[0], batch[1], LossConfig(setting="two-stage"), trained="enhancer")
    before = state(model.enhancer)
    set_trained(model, "classifier")
    train_step(model, optimizer, batch[0], batch[1], LossConfig(setting="two-stage"), trained="classifier")
    assert changed(model.enhancer, before) == set()


@pytest.mark.parametrize(
    ("setting", "trained", "expected"),
    [
        ("one-stage", "both", lambda p: p["ar"] + 0.1 * (4 * p["stc"] + p["dark"])),
        ("one-stage-ar", "both", lambda p: p["ar"]),
        ("two-stage", "enhancer", lambda p: 4 * p["stc"] + p["dark"]),
        ("two-stage", "classifier", lambda p: p["ar"]),
        ("frozen", "classifier", lambda p: p["ar"]),
    ],
)
def test_each_setting_descends_its_own_loss(model, batch, setting, trained, expected):
    clip = batch[0].permute(0, 4, 1, 2, 3).float() / 255
    loss = joint(model(clip), batch[1], clip, LossConfig(setting=setting), trained)
    assert float(loss.total) == pytest.approx(float(expected(loss.parts)), rel=1e-5)


def test_two_stages_follow_each_other():
    experiment = Experiment(loss=LossConfig(setting="two-stage"), optim=OptimConfig(epochs=3, enhancer_epochs=2))
    assert total_epochs(experiment) == 5
    parts = [trained_part(experiment, epoch) for epoch in range(5)]
    assert parts == ["enhancer", "enhancer", "classifier", "classifier", "classifier"]
    frozen = with_overrides(experiment, {"loss.setting": "frozen"})
    assert total_epochs(frozen) == 3
    assert {trained_part(frozen, epoch) for epoch in range(3)} == {"classifier"}
