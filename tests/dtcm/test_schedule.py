import math

import pytest
import torch

from dtcm.config import Experiment, LossConfig, ModelConfig, OptimConfig
from dtcm.models import build
from dtcm.schedule import rate_factor, set_rates
from dtcm.step import make_optimizer

STEPS = 5
"""Steps of an epoch."""


def factors(**optim):
    experiment = Experiment(optim=OptimConfig(**optim))
    return [rate_factor(experiment, step, STEPS) for step in range(STEPS * experiment.optim.epochs)]


def test_the_papers_rate_is_constant():
    assert factors(epochs=3) == [1.0] * 15


def test_a_warm_up_rises_linearly_and_ends_at_the_full_rate():
    assert factors(epochs=2, warmup_epochs=0.8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


def test_a_cosine_falls_from_one_towards_zero_by_hand():
    found = factors(epochs=2, schedule="cosine", warmup_epochs=0.4)
    assert found[:3] == [0.5, 1, 1]
    assert found[4] == pytest.approx((1 + math.sqrt(0.5)) / 2)  # a quarter of 8 steps: cos 45°
    assert found[6] == pytest.approx(0.5)  # half: cos 90°
    assert found[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)
    assert found[2:] == sorted(found[2:], reverse=True)


def test_each_of_two_stages_has_its_own_course():
    optim = OptimConfig(epochs=2, enhancer_epochs=3, schedule="cosine", warmup_epochs=0.4)
    two = Experiment(loss=LossConfig(setting="two-stage"), optim=optim)
    alone = [factors(epochs=epochs, schedule="cosine", warmup_epochs=0.4) for epochs in (3, 2)]
    assert [rate_factor(two, step, STEPS) for step in range(25)] == alone[0] + alone[1]


def test_the_enhancer_has_a_rate_of_its_own():
    model = build(ModelConfig(classifier="small3d"), num_classes=2, frames=8, size=24)
    optimizer = make_optimizer(model, OptimConfig(lr=0.0, enhancer_lr=1e-3, weight_decay=0.0))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name.split(".")[0] for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert moved == {"enhancer"}


def test_a_warm_up_longer_than_the_training_only_rises():
    assert factors(epochs=1, warmup_epochs=9) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_every_group_keeps_its_own_rate_and_the_factor_does_not_build_up():
    model = build(ModelConfig(classifier="small3d"), num_classes=2, frames=8, size=24)
    optimizer = make_optimizer(model, OptimConfig(lr=0.1, enhancer_lr=0.4))
    for factor in (0.5, 0.5, 1.0):
        set_rates(optimizer, factor)
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.1]
    set_rates(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.025]
