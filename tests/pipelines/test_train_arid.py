import os
import shutil

import pytest

from dtcm.errors import BadInput
from pipelines import train_arid


def flags(root, storage, *more):
    values = {
        "data.root": root, "data.frames": 8, "data.stride": 1, "data.width-px": 40, "data.height-px": 30,
        "data.crop-px": 24, "data.val-fraction": 0.3, "optim.epochs": 2,
    }  # fmt: skip
    named = [f"--experiment.{name}={value}" for name, value in values.items()]
    return [*named, f"--settings.storage={storage}", *more]


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as end:
        train_arid.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--experiment.loss.alpha", "--experiment.model.k", "--settings.workers", "--settings.tracking-uri"):
        assert flag in text
    assert "weight of the spatio-temporal consistency" in " ".join(text.split())


def test_a_typing_error_in_a_flag_suggests_the_right_one(capsys):
    with pytest.raises(SystemExit) as end:
        train_arid.main(["--experiment.loss.aplha", "1"])
    assert end.value.code == 2
    assert "--experiment.loss.alpha" in capsys.readouterr().err


def test_a_data_set_of_ones_own_needs_a_root():
    with pytest.raises(BadInput, match=r"Where is arid-v1\? Name its folder with --experiment\.data\.root"):
        train_arid.main(["--recipe", "arid-v1"])


def test_a_recipe_sets_the_defaults_and_flags_still_win(capsys):
    with pytest.raises(BadInput, match="no folder '/nowhere'"):
        train_arid.main(["--recipe", "arid-v1", "--experiment.data.root", "/nowhere"])
    with pytest.raises(SystemExit):
        train_arid.main(["--recipe", "arid-v9"])
    assert "arid-v1-16x224" in capsys.readouterr().err


@pytest.fixture
def listed(tiny_root, tmp_path):
    """A data set with ARID's lists, which the tests then spoil."""
    root = tmp_path / "listed"
    shutil.copytree(tiny_root, root / "clips")
    names = sorted(path.relative_to(root / "clips") for path in (root / "clips").rglob("*.mp4"))
    (root / "lists").mkdir()
    (root / "lists" / "ARID_mapping_table.txt").write_text("0\tLeft\n1\tRight\n")
    for part in ("train", "test"):
        chosen = [name for name in names if (name.stem.split("_")[1] == "6") == (part == "test")]
        lines = [f"{i}\t{int(str(name).startswith('Right'))}\t{name}\n" for i, name in enumerate(chosen)]
        (root / "lists" / f"ARID_split1_{part}.txt").write_text("".join(lines))
    return root


def spoil_missing_root(root):
    shutil.rmtree(root)


def spoil_empty_list(root):
    (root / "lists" / "ARID_split1_train.txt").write_text("")


def spoil_missing_file(root):
    (root / "clips" / "Left" / "Left_1_1.mp4").unlink()


def spoil_class_id(root):
    path = root / "lists" / "ARID_split1_train.txt"
    path.write_text(path.read_text().replace("0\t0\t", "0\t7\t", 1))


@pytest.mark.parametrize(
    ("spoil", "more", "sentence"),
    [
        (spoil_missing_root, [], "There is no folder"),
        (spoil_empty_list, [], "ARID_split1_train.txt"),
        (spoil_missing_file, [], "Left/Left_1_1.mp4"),
        (spoil_class_id, [], "7"),
        (None, ["--experiment.data.split=9"], "9"),
        (None, ["--experiment.data.crop-px=31"], "31 px does not fit"),
        (None, ["--experiment.data.crop-px=12"], "no 16x16 region"),
        (None, ["--experiment.data.frames=0"], "must be at least 1"),
        (
            None,
            ["--experiment.model.classifier=r3d-18", "--experiment.optim.batch=1", "--experiment.data.frames=1"],
            "r3d-18 cannot be trained on 1 frames of 24x24",
        ),
        (None, ["--experiment.model.classifier=resnext3d-11"], "resnext3d-101"),
        (None, ["--experiment.model.k=0"], "k"),
        (None, ["--settings.workers=9", "--experiment.optim.batch=9"], "9 workers"),
        (None, ["--settings.workers=5"], "batch of 4 cannot be shared by 5 workers"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(listed, tmp_path, monkeypatch, spoil, more, sentence):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    if spoil:
        spoil(listed)
    with pytest.raises(BadInput) as error:
        train_arid.main(flags(listed, tmp_path / "runs", *more))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()
