import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dtcm.errors import BadInput
from pipelines import test_model as pipeline


@pytest.fixture
def run_folder(trained):
    return Path(trained.run.folder.uri)


def test_its_own_test_part_gives_the_same_figures_again(run_folder, tmp_path, capsys):
    pipeline.main([str(run_folder), "--out", str(tmp_path / "again.parquet"), f"--settings.storage={tmp_path}"])
    columns = ["video_id", "label", "logits"]
    again, first = (
        pq.read_table(path).select(columns) for path in (tmp_path / "again.parquet", run_folder / "predictions.parquet")
    )
    assert again == first
    assert "Test: " in capsys.readouterr().out


def test_other_videos_are_all_predicted_and_keep_their_class(run_folder, tiny_root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_root / "Right", other / "Right")
    out = tmp_path / "found.parquet"
    pipeline.main([str(run_folder), f"--root={other}", "--whole", f"--out={out}", f"--settings.storage={tmp_path}"])
    found = pq.read_table(out)
    assert found.num_rows == 12
    assert set(found["label"].to_pylist()) == {1}  # Right is the model's class 1, though the only one here
    trained = [row for row in pq.read_table(run_folder / "manifest.parquet").to_pylist() if row["subset"] != "test"]
    seen = {row["video_id"] for row in trained if row["class_name"] == "Right"}
    assert {row["video_id"] for row in found.to_pylist() if row["leak"] == "same video"} == seen


def test_a_class_that_the_model_does_not_know_is_named(run_folder, tiny_root, tmp_path):
    shutil.copytree(tiny_root / "Right", tmp_path / "other" / "Up")
    with pytest.raises(BadInput, match=r"'Up'; it knows Left, Right"):
        pipeline.main([str(run_folder), "--root", str(tmp_path / "other"), "--whole"])


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no trained model"):
        pipeline.main([str(tmp_path)])
