import pytest

from dtcm import config
from dtcm.config import DataConfig, Experiment
from dtcm.data import clips
from dtcm.errors import BadInput
from dtcm.recipes import RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_json_brings_every_recipe_back(name):
    experiment = RECIPES[name]()
    assert config.from_json(config.to_json(experiment)) == experiment


def test_defaults_are_the_papers():
    paper = config.flatten(RECIPES["arid-v1"]())
    expected = {
        "data.frames": 64, "data.stride": 1, "data.width_px": 320, "data.height_px": 240, "data.crop_px": 112,
        "model.classifier": "resnext3d-101", "model.k": 4, "loss.alpha": 0.1, "loss.w_stc": 4.0, "loss.w_col": 0.5,
        "loss.w_tv": 20.0, "optim.epochs": 50, "optim.batch": 4, "optim.lr": 1e-5,
    }  # fmt: skip
    assert {name: paper[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "size", "crop", "format"),
    [
        ("arid-v1", (0, 320, 240), 112, "arid-v1"),
        ("arid-v1-16x224", (0, 320, 240), 224, "arid-v1"),
        ("arid-v15", (0, 320, 240), 112, "arid-v15"),
        ("uavhuman-fisheye", (128, 128, 128), 112, "uavhuman"),
        ("dark48", (0, 320, 240), 112, "dark48"),
    ],
)
def test_every_data_set_of_the_paper_has_its_recipe(name, size, crop, format):
    experiment = RECIPES[name]()
    data = experiment.data
    assert ((data.centre_px, data.width_px, data.height_px), data.crop_px) == (size, crop)
    assert (experiment.recipe, data.format, data.split, data.other) == (name, format, 1, "leave")
    assert data.frames == (16 if name.endswith("16x224") else 64)
    assert (experiment.optim.epochs, experiment.optim.batch, experiment.optim.lr) == (50, 4, 1e-5)
    clips.check(data)


def test_overrides_replace_fields_at_any_depth_and_leave_the_rest():
    changed = config.with_overrides(Experiment(), {"loss.alpha": 1.0, "seed": 7})
    assert (changed.loss.alpha, changed.seed, changed.loss.w_stc) == (1.0, 7, 4.0)
    assert changed.data == Experiment().data


def test_an_unknown_field_is_named():
    with pytest.raises(BadInput, match=r"loss\.alhpa"):
        config.with_overrides(Experiment(), {"loss.alhpa": 1.0})


def test_equal_experiments_hash_alike_and_any_change_shows():
    assert config.sha256(Experiment()) == config.sha256(Experiment())
    assert config.sha256(Experiment()) != config.sha256(Experiment(seed=1))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (DataConfig(), "sample"),
        (DataConfig(root="/data/arid6/"), "arid6"),
        (DataConfig(root="s3://bucket/videos"), "videos"),
        (DataConfig(root="/data/x", dataset="night"), "night"),
    ],
)
def test_the_data_set_is_named_or_named_after_its_folder(data, name):
    assert data.name == name
