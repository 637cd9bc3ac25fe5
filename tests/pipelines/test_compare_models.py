import pyarrow as pa
import pytest

from components.runs import close_run, open_run
from components.settings import Settings
from dtcm.config import with_overrides
from dtcm.errors import BadInput
from dtcm.recipes import sample
from pipelines import compare_models

MANIFEST = pa.Table.from_pylist(
    [
        {"video_id": str(number), "path": "", "sha256": "", "label": 0, "class_name": "a", "subset": "test"}
        for number in range(8)
    ]
)


def finish(storage, overrides, right):
    run = open_run(with_overrides(sample(), overrides), Settings(storage=storage), MANIFEST)
    predicted = [int(number >= right) for number in range(8)]
    run.write_table("predictions.parquet", pa.table({"label": [0] * 8, "predicted": predicted}))
    close_run(run, {"top1": right / 8, "top5": 1.0, "inconsistency": 0.01})


def test_costs_need_neither_data_nor_runs(capsys, storage):
    compare_models.main(["--table", "IX", "--settings.storage", storage])
    text = capsys.readouterr().out
    assert "| 5 | k = 4" in text
    assert "| 4.77 " in text
    assert f"No run of these rows is finished in {storage}; --run makes them." in text


def test_finished_runs_are_set_beside_print_and_written(capsys, storage, tmp_path):
    finish(storage, {"loss.setting": "two-stage", "model.k": 4}, right=4)
    finish(storage, {"model.k": 4}, right=6)
    out = tmp_path / "table.md"
    flags = ["--table", "VI", "--classifiers", "small3d", "--seeds", "0", "--rows", "1", "small3d: one-stage, L_total"]
    compare_models.main([*flags, "--settings.storage", storage, "--out", str(out)])
    text = out.read_text()
    assert text in capsys.readouterr().out
    assert "Classifier small3d instead of the paper's" in text
    assert "Ours: trained and tested on sample, split 1, by the recipe sample in 12 epochs" in text
    assert "50.0 (" in text
    assert "+25.0 (" in text
    assert "L_AR" not in text


def test_weights_are_named_with_their_model(storage, tmp_path, capsys):
    weights = tmp_path / "x.pth"
    weights.touch()
    finish(storage, {"model.classifier_weights": str(weights), "loss.setting": "two-stage"}, right=8)
    flags = ["--table", "VI", "--classifiers", "small3d", "--seeds", "0", "--weights", "small3d", str(weights)]
    compare_models.main([*flags, "--settings.storage", storage])
    assert "from given weights: small3d." in capsys.readouterr().out


def test_bad_rows_are_named():
    with pytest.raises(BadInput, match="There is no row '99'"):
        compare_models.main(["--table", "IV", "--rows", "99"])


def test_running_a_data_set_of_ones_own_needs_a_root(storage):
    with pytest.raises(BadInput, match="Where is arid-v1"):
        compare_models.main(["--table", "VI", "--recipe", "arid-v1", "--run", "--settings.storage", storage])
