"""Training with everything on that the paper's run leaves off, and training that cannot go on."""

import json
import math
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load
from torch import tensor
from torch.testing import assert_close

from components.ingest import make_plan, subset
from components.runs import Run, open_run
from components.settings import Settings
from components.storage import Folder, checkpoint_steps, read_checkpoint
from components.tester import predict_subset, score
from components.trainer import best_weights, train
from components.workflow import train_test_register
from dtcm import checkpoint
from dtcm.bundle import bundle_files
from dtcm.config import with_overrides
from dtcm.errors import BadInput
from tests.support.runs import assert_undisturbed, records, steps_of

RECORDED = [7.155832767486572, 4.7687883377075195, 6.267956733703613]
"""Totals of the tiny run's first steps before any of the features was there."""


def copy_of(run, experiment, folder, step):
    """Another run with the checkpoint of an epoch's end and the records up to it."""
    name = f"step_{step:08d}"
    shutil.copytree(Path(run.checkpoints.uri) / name, folder / "checkpoints" / name)
    shutil.copy(Path(run.folder.uri) / "metrics.jsonl", folder)
    return Run(folder.name, Folder(str(folder)), experiment)


@pytest.fixture(scope="module")
def manifest(trained):
    return trained.run.read_table("manifest.parquet")


@pytest.fixture(scope="module")
def featured(trained, manifest, tiny, tmp_path_factory):
    """A run without batch statistics, so that it can be the same on any number of workers, with all features."""
    experiment = with_overrides(
        tiny,
        {
            "data.balanced": True, "model.enhancer": "zero-dce", "loss.label_smoothing": 0.1, "loss.supcon": 0.5,
            "loss.exposure_target": "luminance", "loss.distill": 1.0, "loss.teachers": (trained.run.model.uri,),
            "optim.accumulate": 2, "optim.clip_norm": 1.0, "optim.ema": 0.9, "optim.schedule": "cosine",
            "optim.warmup_epochs": 0.7, "optim.enhancer_lr": 5e-4, "optim.checkpointing": True,
        },
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("featured")
    run = Run(folder.name, Folder(str(folder)), experiment)
    train(run, manifest, 2, Settings(storage=str(folder), checkpoint_steps=1, keep_checkpoints=9), use_gpu=False)
    return run


def test_the_papers_run_is_what_it_was(trained):
    totals = [record["metrics"]["total"] for record in steps_of(trained.run)]
    assert totals[0] == pytest.approx(RECORDED[0], rel=1e-3)  # other processors and encoders: other last digits
    assert totals[:3] == pytest.approx(RECORDED, rel=0.1)
    assert "average.safetensors" not in (trained.run.checkpoints / "step_00000006").names()


def test_every_feature_shows_in_the_record(featured):
    metrics = steps_of(featured)[0]["metrics"]
    parts = metrics["ar"] + 0.1 * (4 * metrics["stc"] + metrics["dark"]) + metrics["distill"] + 0.5 * metrics["supcon"]
    assert metrics["total"] == pytest.approx(parts, rel=1e-5)
    assert metrics["grad_norm"] > 0
    # Two steps of warm-up, 0.7 of the three in an epoch, then the cosine of 0, 45, 90 and 135 degrees.
    factors = [0.5, 1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    rates = [(record["metrics"]["lr"], record["metrics"]["lr_enhancer"]) for record in steps_of(featured)]
    assert rates == [(pytest.approx(1e-3 * factor), pytest.approx(5e-4 * factor)) for factor in factors]


@pytest.mark.slow
def test_clips_from_the_cache_train_the_same_model(trained, manifest, tiny, tmp_path):
    run, cache = Run("run", Folder(str(tmp_path / "run")), tiny), tmp_path / "cache"
    train(run, manifest, 2, Settings(cache_bytes=2**30, cache_dir=str(cache)), use_gpu=False)
    plan = make_plan(manifest, tiny)
    seen = {row.video for step in range(plan.steps) for row in plan.rows(step)}
    assert len(list(cache.glob("*.npy"))) == len(seen)
    assert records(run) == [record for record in records(trained.run) if record[0] != "test"]


def test_classes_are_balanced_by_the_labels_of_the_manifest(manifest, tiny):
    first = [row["video_id"] for row in subset(manifest, "train").to_pylist() if row["label"] == 0]
    uneven = manifest.filter([video_id not in first[1:] for video_id in manifest["video_id"].to_pylist()])
    plan = make_plan(uneven, with_overrides(tiny, {"data.balanced": True, "optim.batch": 1}))
    labels = subset(uneven, "train")["label"].to_pylist()
    epoch = [labels[plan.rows(step)[0].video] for step in range(plan.steps_per_epoch)]
    assert (labels.count(0), len(epoch)) == (1, len(labels))
    assert abs(epoch.count(0) - epoch.count(1)) <= 1


def test_what_is_validated_and_kept_is_the_average(featured, manifest):
    best = json.loads((featured.checkpoints / "step_00000006").read("progress.json"))["best_step"]
    files = read_checkpoint(featured.checkpoints, best)
    assert files is not None
    assert best_weights(featured) == files[checkpoint.AVERAGE] != files[checkpoint.WEIGHTS]
    for name, content in bundle_files(best_weights(featured), featured.experiment, ("Left", "Right")).items():
        featured.model.write(name, content)
    found = score(predict_subset(manifest, featured.model, featured.experiment, "val", 1, use_gpu=False))
    logged = next(r["metrics"] for r in featured.read_metrics() if r["kind"] == "val" and r["step"] == best)
    assert found["inconsistency"] == pytest.approx(logged["inconsistency"], rel=1e-5)
    assert found["top1"] == logged["top1"]


def test_two_workers_go_on_where_one_was_and_end_where_it_ends(featured, manifest, tmp_path):
    """From the middle of an epoch. Average, rate, order, parts of a batch and contrast over both workers: none may
    depend on their number."""
    # No other checkpoint within an epoch is certain: while one is being written, the next ones wait.
    other = copy_of(featured, featured.experiment, tmp_path, step=1)
    train(other, manifest, 2, Settings(storage=str(tmp_path), workers=2), use_gpu=False)
    timing = {"step_s", "wait_s"}
    for record, expected in zip(steps_of(other), steps_of(featured), strict=True):
        metrics = {name: value for name, value in record["metrics"].items() if name not in timing}
        assert metrics == pytest.approx({name: expected["metrics"][name] for name in metrics}, rel=1e-2, abs=1e-5)
    averages = [load((run.checkpoints / "step_00000006").read(checkpoint.AVERAGE)) for run in (other, featured)]
    for name, value in averages[1].items():
        assert_close(tensor(averages[0][name]), tensor(value), rtol=0.02, atol=1e-4)


@pytest.mark.slow
def test_masks_of_dropout_are_those_of_the_step_also_in_a_training_that_goes_on(manifest, tiny, tmp_path):
    experiment = with_overrides(tiny, {"model.classifier": "squeezenet3d", "model.enhancer": "zero-dce"})
    for name in ("calm", "again"):
        (tmp_path / name).mkdir()
    calm = Run("calm", Folder(str(tmp_path / "calm")), experiment)
    settings = Settings(storage=str(tmp_path), threads=1, checkpoint_steps=1, keep_checkpoints=9)
    train(calm, manifest, 2, settings, use_gpu=False)
    again = copy_of(calm, experiment, tmp_path / "again", step=1)
    train(again, manifest, 2, settings, use_gpu=False)
    assert records(again) == records(calm)
    assert read_checkpoint(again.checkpoints, 6) == read_checkpoint(calm.checkpoints, 6)


@pytest.mark.parametrize(
    ("changes", "step", "total"),
    [
        # Step 4 takes some weights beyond the largest float32, behind a loss that is sound.
        ({"optim.lr": 1.1e38}, 5, "nan"),
        pytest.param({"loss.alpha": 1e38}, 4, "inf", marks=pytest.mark.slow),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_clips(
    trained, manifest, tiny, tmp_path, changes, step, total
):
    run = copy_of(trained.run, with_overrides(tiny, changes), tmp_path, step=3)
    with pytest.raises(BadInput, match=rf"step {step} are not finite; .*not_finite\.json names its clips"):
        train(run, manifest, 2, Settings(storage=str(tmp_path), checkpoint_steps=1), use_gpu=False)
    found = json.loads(run.folder.read("not_finite.json"))
    video_ids = subset(manifest, "train")["video_id"].to_pylist()
    assert found["video_ids"] == [video_ids[row.video] for row in make_plan(manifest, run.experiment).rows(step - 1)]
    assert found["metrics"]["total"] == total
    assert steps_of(run)[-1]["step"] == step - 1
    assert checkpoint_steps(run.checkpoints) == [3]
    assert read_checkpoint(run.checkpoints, 3) is not None


@pytest.mark.slow
def test_a_fault_that_does_not_come_again_leaves_no_trace(trained, manifest, tiny, tmp_path):
    """Weight decay is the fault: no record holds it and the run folder knows nothing of it, nor does the command."""
    settings = Settings(storage=str(tmp_path))
    run = open_run(tiny, settings, manifest)
    faulty = copy_of(trained.run, with_overrides(tiny, {"optim.weight_decay": 1e36}), Path(run.folder.uri), step=3)
    with pytest.raises(BadInput, match="step 5 are not finite"):
        train(faulty, manifest, 2, settings, use_gpu=False)
    assert run.folder.has("not_finite.json")
    result = train_test_register(tiny, settings)
    assert result.run == run
    assert not run.folder.has("not_finite.json")
    assert_undisturbed(result, trained)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"optim.accumulate": 5}, "in 5 parts by 1 workers"), ({"loss.distill": 1.0}, "with loss.teachers")],
)
def test_options_that_cannot_be_are_refused_before_workers_start(manifest, tiny, tmp_path, changes, sentence):
    run = Run("run", Folder(str(tmp_path)), with_overrides(tiny, changes))
    with pytest.raises(BadInput, match=sentence):
        train(run, manifest, 2, Settings(storage=str(tmp_path)), use_gpu=False)
