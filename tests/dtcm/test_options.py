import pytest

from dtcm.config import Experiment, with_overrides
from dtcm.errors import BadInput
from dtcm.options import check_training
from dtcm.recipes import RECIPES


def refusal(experiment, workers):
    """What is said against an experiment; nothing where it can be."""
    try:
        check_training(experiment, workers)
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_be_trained(name):
    assert refusal(RECIPES[name](), workers=4) == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optim.ema": 1.0}, "optim.ema must be at least 0 and below 1"),
        ({"optim.accumulate": 0}, "optim.accumulate must be 1 or more"),
        ({"optim.clip_norm": -1.0}, "optim.clip-norm must be 0 or more"),
        ({"optim.warmup_epochs": -0.5}, "optim.warmup-epochs must be 0 or more"),
        ({"loss.label_smoothing": 1.0}, "loss.label-smoothing must be at least 0 and below 1"),
        ({"loss.e_min": 0.8}, "loss.e-min must be at least 0 and at most loss.e-max"),
        ({"loss.distill": 1.0}, "loss.distill must be above 0 with loss.teachers, and 0 without"),
        ({"loss.teachers": ("a",)}, "loss.distill must be above 0 with loss.teachers, and 0 without"),
        ({"loss.supcon_temperature": 0.0}, "loss.supcon-temperature must be above 0"),
        ({"optim.pretrain_clips": 3}, "optim.pretrain-clips must be optim.batch or more"),
        ({"optim.pretrain_lr": 0.0}, "optim.pretrain-lr must be above 0"),
        (
            {"model.init": "synthetic", "model.classifier_weights": "kinetics.pth"},
            "model.init must be random with model.classifier-weights",
        ),
        ({"optim.accumulate": 3}, "A batch of 4 cannot be computed in 3 parts by 2 workers"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes, sentence):
    said = refusal(with_overrides(Experiment(), changes), workers=2)
    assert sentence in said
    assert "\n" not in said


def test_as_many_parts_as_each_workers_clips_are_allowed():
    assert refusal(with_overrides(Experiment(), {"optim.accumulate": 2}), workers=2) == ""
    assert refusal(with_overrides(Experiment(), {"optim.accumulate": 2}), workers=3) != ""
