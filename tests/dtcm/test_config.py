import pytest
import tyro

from dtcm import config
from dtcm.config import DataConfig, Experiment
from dtcm.data import clips
from dtcm.errors import BadInput
from dtcm.recipes import RECIPES

FEATURES = {
    "data": ["balanced"],
    "loss": [
        "exposure_target", "e_min", "e_max", "label_smoothing", "distill", "distill_temperature", "teachers", "supcon",
        "supcon_temperature",
    ],
    "optim": ["schedule", "warmup_epochs", "accumulate", "clip_norm", "ema", "checkpointing"],
}  # fmt: skip
"""Fields that the paper's run has no use for."""


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
        "data.balanced": False, "loss.exposure_target": "fixed", "loss.label_smoothing": 0.0, "loss.distill": 0.0,
        "loss.supcon": 0.0, "optim.schedule": "constant", "optim.warmup_epochs": 0.0, "optim.accumulate": 1,
        "optim.clip_norm": 0.0, "optim.ema": 0.0, "optim.checkpointing": False,
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


def test_json_from_before_the_training_features_still_loads():
    values = config.to_dict(RECIPES["sample"]())
    for part, names in FEATURES.items():
        for name in names:
            del values[part][name]
    assert config.from_dict(values) == RECIPES["sample"]()


def test_json_brings_several_teachers_back():
    experiment = config.with_overrides(Experiment(), {"loss.teachers": ("runs/a/model", "s3://runs/b/model")})
    again = config.from_json(config.to_json(experiment))
    assert again == experiment
    assert config.sha256(again) == config.sha256(experiment)


def test_every_training_feature_is_a_flag_and_its_help_a_sentence(capsys):
    flags = "--data.balanced --loss.label-smoothing 0.1 --loss.exposure-target luminance --loss.distill 1"
    flags += " --loss.teachers a b --loss.supcon 0.5 --optim.accumulate 2 --optim.clip-norm 1 --optim.ema 0.99"
    flags += " --optim.schedule cosine --optim.warmup-epochs 1.5 --optim.checkpointing"
    found = config.flatten(tyro.cli(Experiment, args=flags.split()))
    expected = {
        "data.balanced": True, "loss.label_smoothing": 0.1, "loss.exposure_target": "luminance", "loss.distill": 1.0,
        "loss.teachers": ("a", "b"), "loss.supcon": 0.5, "optim.accumulate": 2, "optim.clip_norm": 1.0,
        "optim.ema": 0.99, "optim.schedule": "cosine", "optim.warmup_epochs": 1.5, "optim.checkpointing": True,
    }  # fmt: skip
    assert {name: value for name, value in found.items() if value != config.flatten(Experiment())[name]} == expected
    with pytest.raises(SystemExit):
        tyro.cli(Experiment, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for sentence in ("T² KL(teacher || student)", "Khosla et al.", "E_min + (e_max".lower(), "half a cosine"):
        assert sentence.lower() in text.lower()


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
