from collections import Counter

import pytest
import torch

from dtcm import checkpoint
from dtcm.config import total_epochs, with_overrides
from dtcm.data import synthetic
from dtcm.models.dtcm import build
from dtcm.options import check_training
from dtcm.pretraining import fitted, manifest, pretraining, run_name
from dtcm.recipes import RECIPES
from dtcm.step import make_optimizer, set_trained, train_step, trained_part

START = with_overrides(RECIPES["sample"](), {"model.init": "synthetic"})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7, "recipe": "mine"},
        {"data.root": "/data/arid", "data.split": 2, "data.val_fraction": 0.3, "data.balanced": True},
        {"optim.lr": 1e-4, "optim.enhancer_lr": 1e-5, "optim.epochs": 3, "optim.ema": 0.9, "optim.schedule": "cosine"},
        {"loss.distill": 1.0, "loss.teachers": ("a/model",)},
    ],
)
def test_what_differs_in_data_seed_or_schedule_shares_a_pre_training(changes):
    assert pretraining(with_overrides(START, changes)) == pretraining(START)


@pytest.mark.parametrize(
    "changes",
    [
        {"data.frames": 8}, {"data.crop_px": 48}, {"model.classifier": "r3d-18"}, {"model.k": 2}, {"loss.alpha": 0.1},
        {"optim.pretrain_clips": 100}, {"optim.pretrain_lr": 1e-4},
    ],
)  # fmt: skip
def test_what_is_learnt_decides_the_name(changes):
    assert run_name(pretraining(with_overrides(START, changes))) != run_name(pretraining(START))


def test_another_generator_makes_another_name(monkeypatch):
    name = run_name(pretraining(START))
    monkeypatch.setattr(synthetic, "digest", lambda: "another")
    assert run_name(pretraining(START)) != name


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_can_be_pre_trained(recipe):
    made = pretraining(with_overrides(RECIPES[recipe](), {"model.init": "synthetic"}))
    check_training(made, workers=1)
    assert (made.model.init, made.data.name, made.optim.epochs) == ("random", "synthetic", 1)


@pytest.mark.parametrize("setting", ["one-stage", "two-stage"])
def test_every_parameter_of_enhancer_and_classifier_is_pre_trained(setting):
    ours = pretraining(with_overrides(START, {"loss.setting": setting, "data.frames": 4, "data.crop_px": 16}))
    model = build(ours.model, 11, 4, 16)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, ours.optim)
    for epoch in range(total_epochs(ours)):
        trained = trained_part(ours, epoch)
        set_trained(model, trained)
        clips = torch.randint(0, 60, (2, 4, 16, 16, 3), dtype=torch.uint8)
        train_step(model, optimizer, clips, torch.tensor([0, 10]), ours.loss, trained=trained)
    assert {name for name, value in model.named_parameters() if value.equal(before[name])} == set()


def test_the_manifest_lists_every_video_once_and_validates_on_others():
    rows = manifest(1760).to_pylist()
    parts = {name: [row for row in rows if row["subset"] == name] for name in ("train", "val")}
    assert [len(parts["train"]), len(parts["val"])] == [1760, 22]
    assert len({row["path"] for row in rows}) == len({row["sha256"] for row in rows}) == 1782
    for part in parts.values():
        assert len(set(Counter(row["class_name"] for row in part).values())) == 1
    assert rows[30]["frames"] == synthetic.frame_count(0, 30)
    assert manifest(110).to_pylist()[:110] == rows[:110]


def test_classes_that_the_generator_has_begin_with_their_row():
    eleven, three = (build(START.model, classes, 16, 64) for classes in (11, 3))
    own = {name: value.clone() for name, value in three.state_dict().items()}
    checkpoint.unpack_initial(fitted(checkpoint.pack_weights(eleven), three, ("Wave", "Yawn", "Drink")), three)
    found, given = three.state_dict(), eleven.state_dict()
    for name in ("classifier.fc.weight", "classifier.fc.bias"):
        assert found[name][0].equal(given[name][10])
        assert found[name][1].equal(own[name][1])
        assert found[name][2].equal(given[name][0])
    rest = set(found) - {"classifier.fc.weight", "classifier.fc.bias"}
    assert all(found[name].equal(given[name]) for name in rest)


def test_weights_of_another_model_are_refused():
    model = build(START.model, 11, 16, 64)
    initial = fitted(checkpoint.pack_weights(model), model, synthetic.ACTIONS)
    other = build(with_overrides(START, {"model.enhancer": "zero-dce"}).model, 11, 16, 64)
    with pytest.raises(RuntimeError):
        checkpoint.unpack_initial(initial, other)
