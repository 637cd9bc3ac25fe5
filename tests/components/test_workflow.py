import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ingest import subset
from components.settings import Settings
from components.storage import Folder
from components.tester import predict_subset, read_bundle, score
from components.workflow import describe_test, train_test_register
from dtcm import config
from dtcm.data.plan import centre_rows
from dtcm.data.transforms import load_clip


@pytest.fixture
def folder(trained):
    return Path(trained.run.folder.uri)


def losses(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["metrics"]["total"] for record in records if record["kind"] == "train"]


def test_the_run_folder_holds_everything(folder, tiny):
    assert {path.name for path in folder.iterdir()} >= {
        "config.json", "environment.json", "manifest.parquet", "metrics.jsonl", "checkpoints", "model",
        "predictions.parquet", "report", "result.json", "mlflow.json",
    }  # fmt: skip
    assert config.from_json((folder / "config.json").read_text()) == tiny
    assert not (folder / "RUNNING").exists()


def test_every_step_epoch_and_the_test_have_a_record(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in steps] == list(range(1, len(steps) + 1))
    rates = {"lr", "lr_enhancer"}
    assert {"total", "ar", "sc", "tc", "stc", "exp", "col", "tv", "dark", "step_s", "wait_s"} | rates == set(
        steps[0]["metrics"]
    )
    assert [record["epoch"] for record in records if record["kind"] == "val"] == [1, 2]
    assert records[-1]["kind"] == "test"


def test_a_test_clip_that_training_has_seen_is_named_and_scored_apart(cluster, trained, tiny):
    manifest = trained.run.read_table("manifest.parquet")
    rows = manifest.to_pylist()
    seen = next(row for row in rows if row["subset"] == "test")
    seen["sha256"] = next(row["sha256"] for row in rows if row["subset"] == "train")
    spoilt = pa.Table.from_pylist(rows, manifest.schema)
    predictions = predict_subset(spoilt, trained.run.model, tiny, "test", 1, use_gpu=False)
    leaks = dict(zip(predictions["video_id"].to_pylist(), predictions["leak"].to_pylist(), strict=True))
    assert {video for video, leak in leaks.items() if leak} == {seen["video_id"]}
    assert leaks[seen["video_id"]] == "same file"
    figures = score(predictions)
    right = [row["label"] == row["predicted"] for row in predictions.to_pylist() if not row["leak"]]
    assert figures["leak_free_clips"] == figures["clips"] - 1 == len(right)
    assert figures["leak_free_top1"] == pytest.approx(sum(right) / len(right))
    assert "Leaks: 1 test clips share" in describe_test(figures)
    assert "Leaks" not in describe_test(trained.test)


def test_the_logged_total_is_eq_7_of_the_logged_parts(folder, tiny):
    loss = tiny.loss
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "train":
            parts = record["metrics"]
            dark = parts["exp"] + loss.w_col * parts["col"] + loss.w_tv * parts["tv"]
            expected = parts["ar"] + loss.alpha * (loss.w_stc * (parts["sc"] + parts["tc"]) + dark)
            assert parts["total"] == pytest.approx(expected, rel=1e-5)


def test_every_test_clip_is_predicted_once(trained, folder):
    predictions = pq.read_table(folder / "predictions.parquet")
    test = subset(pq.read_table(folder / "manifest.parquet"), "test")
    assert predictions["video_id"].to_pylist() == test["video_id"].to_pylist()
    right = np.mean([row["label"] == row["predicted"] for row in predictions.to_pylist()])
    assert trained.test["top1"] == pytest.approx(right)


def test_the_evaluator_says_what_validation_said_of_the_best_epoch(trained, folder, tiny):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = json.loads((folder / "checkpoints" / "step_00000006" / "progress.json").read_text())["best_step"]
    logged = next(record["metrics"] for record in records if record["kind"] == "val" and record["step"] == best)
    manifest = pq.read_table(folder / "manifest.parquet")
    again = score(predict_subset(manifest, trained.run.model, tiny, "val", workers=1, use_gpu=False))
    known = again.keys() & logged.keys()
    assert {"top1", "top5", "ece", "inconsistency"} < known
    assert {name: again[name] for name in known} == pytest.approx({name: logged[name] for name in known}, rel=1e-4)


@pytest.mark.slow
def test_two_workers_train_on_the_same_batches(trained, folder, tiny, tmp_path):
    other = train_test_register(tiny, Settings(workers=2, storage=str(tmp_path)))
    # torch's batch normalisation on a CPU is good to 1e-4 and AdamW's first steps follow signs, so the curves part.
    found, expected = losses(Path(other.run.folder.uri)), losses(folder)
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    assert found == pytest.approx(expected, rel=0.1)
    assert other.test["clips"] == trained.test["clips"]


def test_mlflow_has_parameters_curves_tags_and_figures(trained, folder, tiny):
    client = mlflow.MlflowClient(trained.tracking_uri)
    run = client.get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["loss.alpha"] == "0.1"
    assert run.data.tags["config_sha256"] == config.sha256(tiny)
    assert {"dataset", "split", "recipe", "git_commit", "manifest_sha256"} <= set(run.data.tags)
    curve = client.get_metric_history(run.info.run_id, "train/total")
    assert [point.value for point in sorted(curve, key=lambda point: point.step)] == losses(folder)
    assert run.data.metrics["test/top1"] == pytest.approx(trained.test["top1"])
    report = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "report")}
    assert {"report/index.html", "report/curves.png", "report/confusion.png", "report/enhancement_1.png"} <= report


FRESH = """
import sys, mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[2]}@challenger")
clips = np.load(sys.argv[3])
np.save(sys.argv[4], model.predict(clips, params={"output": "logits"}))
assert np.allclose(model.predict(clips).sum(axis=1), 1)
print(sys.modules["dtcm"].__file__)
"""


def test_the_registered_model_gives_the_same_logits_in_a_fresh_process(trained, folder, tiny, tmp_path):
    manifest = subset(pq.read_table(folder / "manifest.parquet"), "test").slice(0, 3).to_pylist()
    clips = [load_clip(row["path"], centre_rows((row["frames"],), tiny.data)[0], tiny.data) for row in manifest]
    np.save(tmp_path / "clips.npy", np.stack(clips))
    name = trained.model_version.split(" ")[0]
    arguments = [trained.tracking_uri, name, str(tmp_path / "clips.npy"), str(tmp_path / "logits.npy")]
    fresh = [sys.executable, "-c", FRESH, *arguments]
    done = subprocess.run(fresh, check=True, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert not Path(done.stdout.splitlines()[-1]).is_relative_to(Path(__file__).parents[2])  # its own code, not ours
    expected = read_bundle(Folder(str(folder / "model"))).predict(np.stack(clips)).logits.numpy()
    assert np.array_equal(np.load(tmp_path / "logits.npy"), expected)
    logged = [row["logits"] for row in pq.read_table(folder / "predictions.parquet").slice(0, 3).to_pylist()]
    assert expected == pytest.approx(np.array(logged), abs=1e-5)


def test_nothing_registered_is_pickled(trained):
    artifacts = Path(trained.tracking_uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts"
    names = {file.name for file in artifacts.rglob("*") if file.is_file()}
    assert "model.safetensors" in names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))}
