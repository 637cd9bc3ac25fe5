import json

import pytest
import torch

from components.storage import Folder
from components.teachers import find_teachers, load_teachers
from dtcm import config
from dtcm.bundle import bundle_files
from dtcm.checkpoint import pack_weights
from dtcm.config import DataConfig, Experiment, ModelConfig
from dtcm.errors import BadInput
from dtcm.models import build

NAMES = {0: "Jump", 1: "Walk"}


@pytest.fixture
def experiment():
    return Experiment(data=DataConfig(frames=4, crop_px=24), model=ModelConfig(enhancer="none", classifier="small3d"))


@pytest.fixture
def teacher(tmp_path, experiment):
    """A finished run's model folder, relative to the working directory as a user may name it."""
    torch.manual_seed(3)
    model = build(experiment.model, 2, 4, 24)
    (tmp_path / "run" / "model").mkdir(parents=True)
    for name, content in bundle_files(pack_weights(model), experiment, tuple(NAMES.values())).items():
        (tmp_path / "run" / "model" / name).write_bytes(content)
    return model.eval()


def naming(experiment, *places):
    return config.with_overrides(experiment, {"loss.teachers": places, "loss.distill": 1.0})


def test_teachers_are_found_and_loaded_wherever_they_are_named_from(teacher, experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = find_teachers(naming(experiment, "run/model", str(tmp_path / "run/model")), NAMES)
    assert folders == [Folder(str(tmp_path / "run" / "model"))] * 2
    teachers = load_teachers(folders, torch.device("cpu"))
    clip = torch.rand(2, 3, 4, 24, 24)
    assert teachers is not None
    torch.testing.assert_close(teachers(clip), teacher(clip).logits)
    assert load_teachers(find_teachers(experiment, NAMES), torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("classes", "changes", "sentence"),
    [
        (NAMES, {"data.frames": 8}, r"takes 4 frames of 24 px and this run's clips have 8 of 24 px"),
        (NAMES, {"data.crop_px": 32}, r"takes 4 frames of 24 px and this run's clips have 4 of 32 px"),
        ({0: "Walk", 1: "Jump"}, {}, "knows other classes"),
        ({**NAMES, 2: "Sit"}, {}, "knows other classes"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_a_sentence(
    teacher, experiment, tmp_path, classes, changes, sentence
):
    student = config.with_overrides(naming(experiment, str(tmp_path / "run" / "model")), changes)
    with pytest.raises(BadInput, match=sentence):
        find_teachers(student, classes)


def test_a_folder_without_a_model_is_refused(teacher, experiment, tmp_path):
    with pytest.raises(BadInput, match=r"There is no trained model in .*/run; name the folder `model`"):
        find_teachers(naming(experiment, str(tmp_path / "run")), NAMES)


def test_a_teacher_of_a_third_class_is_refused(teacher, experiment, tmp_path):
    """Its logits would be one too many."""
    (tmp_path / "run" / "model" / "classes.json").write_text(json.dumps([*NAMES.values(), "Sit"]))
    with pytest.raises(BadInput, match="knows other classes"):
        find_teachers(naming(experiment, str(tmp_path / "run" / "model")), NAMES)
