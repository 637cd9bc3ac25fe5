import math

import numpy as np
import pytest
import torch

from dtcm.config import LossConfig, ModelConfig, OptimConfig
from dtcm.distill import Teachers, distillation
from dtcm.models import build
from dtcm.step import make_optimizer, set_trained, train_step


def model(seed, enhancer="light"):
    torch.manual_seed(seed)
    return build(ModelConfig(enhancer=enhancer, classifier="small3d"), num_classes=3, frames=4, size=24)


def test_distillation_by_hand():
    # T = 2: teacher softmax(0, ln 3) = (1/4, 3/4), student (1/2, 1/2); KL = 1/4 ln 1/2 + 3/4 ln 3/2, times 4.
    teacher, student = torch.tensor([[0.0, 2 * math.log(3)]]), torch.tensor([[1.0, 1.0]])
    expected = 4 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert distillation(student, teacher, 2).item() == pytest.approx(expected, rel=1e-6)


def test_distillation_equals_loops_and_is_a_mean_over_clips():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 4))
    total = 0.0
    for s, t in zip(student / 3, teacher / 3, strict=True):
        p, q = np.exp(t) / np.exp(t).sum(), np.exp(s) / np.exp(s).sum()
        total += 9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert distillation(torch.tensor(student), torch.tensor(teacher), 3).item() == pytest.approx(total / 5)


def test_a_student_that_says_the_same_has_nothing_to_learn():
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    loss = distillation(logits, logits.detach() + 7, 4)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


def test_teachers_speak_with_the_mean_of_their_logits_and_without_gradient():
    teachers = [model(1).eval(), model(2, "gic").eval()]
    clip = torch.rand(2, 3, 4, 24, 24)
    found = Teachers(teachers)(clip)
    assert not found.requires_grad
    expected = (teachers[0](clip).logits + teachers[1](clip).logits) / 2
    torch.testing.assert_close(found, expected)


def test_a_step_adds_the_weighted_distillation_and_pulls_the_student_to_its_teachers():
    student, teachers = model(0, "none"), Teachers([model(1, "none").eval(), model(2, "gic").eval()])
    optimizer, config = make_optimizer(student, OptimConfig(lr=1e-3)), LossConfig(distill=100, teachers=("a", "b"))
    set_trained(student, "both")
    clips = torch.randint(0, 60, (3, 4, 24, 24, 3), dtype=torch.uint8)
    found = [
        train_step(student, optimizer, clips, torch.tensor([0, 1, 2]), config, teachers=teachers) for _ in range(20)
    ]
    paper = found[0]["ar"] + 0.1 * (4 * found[0]["stc"] + found[0]["dark"])
    assert found[0]["total"] == pytest.approx(paper + 100 * found[0]["distill"], rel=1e-5)
    assert found[-1]["distill"] < 0.5 * found[0]["distill"]


def test_an_enhancer_that_is_trained_alone_is_not_taught():
    student, teachers = model(0), Teachers([model(1).eval()])
    optimizer = make_optimizer(student, OptimConfig())
    set_trained(student, "enhancer")
    clips, config = torch.zeros(2, 4, 24, 24, 3, dtype=torch.uint8), LossConfig(setting="two-stage", distill=1)
    parts = train_step(student, optimizer, clips, torch.tensor([0, 1]), config, trained="enhancer", teachers=teachers)
    assert "distill" not in parts
