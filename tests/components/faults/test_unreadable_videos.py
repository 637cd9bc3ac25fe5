"""Videos become unreadable between the index and the training."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from ray.exceptions import RayTaskError

from components import unreadable
from components.ingest import centre_clips, make_plan, subset, train_clips
from components.runs import Run, open_run
from components.settings import Settings
from components.storage import Folder
from components.tester import predict_subset
from components.trainer import train
from components.workflow import train_test_register
from dtcm.config import with_overrides
from dtcm.data.transforms import load_clip
from dtcm.errors import BadInput
from tests.support.runs import assert_undisturbed, curve


@pytest.fixture
def spoilt(trained, tiny_root, tmp_path):
    """Manifest of a copy of the videos, and the ids of three of them.

    One for training was deleted and one cut off, one for validation emptied.
    """
    shutil.copytree(tiny_root, tmp_path / "videos")
    rows = trained.run.read_table("manifest.parquet").to_pylist()
    for row in rows:
        row["path"] = str(tmp_path / "videos" / Path(row["path"]).relative_to(tiny_root))
    manifest = pa.Table.from_pylist(rows, trained.run.read_table("manifest.parquet").schema)
    train_rows, val_rows = subset(manifest, "train").to_pylist(), subset(manifest, "val").to_pylist()
    deleted, cut = train_rows[0], next(row for row in train_rows if row["label"] != train_rows[0]["label"])
    Path(deleted["path"]).unlink()
    Path(cut["path"]).write_bytes(Path(cut["path"]).read_bytes()[:1000])
    Path(val_rows[0]["path"]).write_bytes(b"")
    return manifest, [row["video_id"] for row in (deleted, cut, val_rows[0])]


@pytest.fixture
def new_run(tiny, tmp_path):
    return Run("run", Folder(str(tmp_path / "run")), tiny)


def test_another_video_of_the_class_stands_in_for_one_that_became_unreadable(cluster, tiny, spoilt, new_run):
    manifest, (deleted, cut, _) = spoilt
    settings, videos = Settings(max_unreadable_share=0.5), subset(manifest, "train").to_pylist()
    log, plan = unreadable.open_log(new_run.folder, manifest, settings), make_plan(manifest, tiny)
    found = {(row["step"], row["slot"]): row for row in train_clips(manifest, tiny, 0, 1, 0, log).take_all()}
    gone, replaced = {deleted: "missing", cut: "truncated"}, {}
    for row in itertools.chain(*map(plan.rows, range(plan.steps))):
        taken = row
        if videos[row.video]["video_id"] in gone:
            taken = next(each for each in plan.replacements(row) if videos[each.video]["video_id"] not in gone)
            replaced[row.step + 1, row.slot] = videos[row.video]["video_id"], videos[taken.video]["video_id"]
        clip = found.pop((row.step, row.slot))
        assert clip["label"] == videos[row.video]["label"] == videos[taken.video]["label"]
        assert np.array_equal(clip["clip"], load_clip(videos[taken.video]["path"], taken, tiny.data))
    assert not found

    validated = centre_clips(manifest, tiny, "val", log=log).take_all()
    assert [row["video"] for row in validated] == list(range(1, subset(manifest, "val").num_rows))
    lines = [json.loads(line) for line in new_run.folder.read("unreadable.jsonl").splitlines()]
    planned = {(line["step"], line["slot"]): line for line in lines if line["subset"] == "train" and line["step"]}
    first = {place: planned[place] for place in replaced if planned[place]["video_id"] == replaced[place][0]}
    assert {place: (line["video_id"], line["replaced_by"]) for place, line in first.items()} == replaced
    assert all(line["reason"].startswith(gone.get(line["video_id"], "empty")) for line in lines)
    assert unreadable.counts(new_run.folder) == {"unreadable_videos": 3, "replaced_clips": len(replaced)}


def test_what_is_read_again_is_forgotten_and_nothing_else(tmp_path):
    log = unreadable.Log(Folder(str(tmp_path)), allowed=9)
    clips = [
        unreadable.Unread(part, step, slot, video_id, "path", "gone", "another")
        for part, step, slot, video_id in [("val", 0, 3, "a"), ("train", 2, 0, "b"), ("train", 5, 1, "c")]
    ]
    assert log.add(clips)
    log.begin("train", 4)
    assert unreadable.read(log.folder) == [clips[1], clips[0]]
    log.begin("val", 0)
    assert unreadable.read(log.folder) == [clips[1]]


def test_a_full_disk_is_what_the_log_says(small_disk):
    place = small_disk(65_536)
    log = unreadable.Log(Folder(str(place)), allowed=9)
    clip = unreadable.Unread("train", 1, 0, "a", "x" * 100_000, "gone", "b")
    assert not log.add([clip])
    assert "no room for" in log.what()
    small_disk(2**20, "remount")
    assert log.add([clip])
    assert (log.what(), unreadable.read(log.folder)) == ("", [clip])


@pytest.mark.slow
def test_more_unreadable_videos_than_allowed_stop_the_training_at_once(cluster, spoilt, new_run):
    manifest, videos = spoilt
    with pytest.raises(BadInput, match=r"of 16 videos can no longer be read .*put the files back") as error:
        train(new_run, manifest, 2, Settings(max_failures=9), use_gpu=False)
    assert any(video in str(error.value) for video in videos)
    assert "\n" not in str(error.value)


def test_a_store_that_refuses_is_no_unreadable_video(cluster, tiny, trained, new_run, bucket_root, proxied_s3):
    proxy = proxied_s3(lambda *_: "403")
    recorded = trained.run.read_table("manifest.parquet")
    rows = [row | {"path": f"{bucket_root}/tiny/x.mp4{proxy.options}"} for row in recorded.to_pylist()]
    manifest = pa.Table.from_pylist(rows, recorded.schema)
    log = unreadable.open_log(new_run.folder, manifest, Settings(max_unreadable_share=1.0))
    with pytest.raises(RayTaskError, match="ACCESS_DENIED"):
        train_clips(manifest, tiny, 0, 1, 0, log).take_all()
    assert unreadable.read(new_run.folder) == []


@pytest.mark.slow
def test_with_its_files_put_back_a_run_goes_on_and_is_the_undisturbed_one(
    cluster, tiny, tiny_root, trained, spoilt, tmp_path
):
    """The first command is told in its parts, since the videos are whole up to its training."""
    manifest, _ = spoilt
    experiment = with_overrides(tiny, {"data.root": str(tmp_path / "videos"), "data.dataset": "tiny"})
    settings = Settings(storage=str(tmp_path / "runs"))
    run = open_run(experiment, settings, manifest)
    with pytest.raises(BadInput, match="can no longer be read"):
        train(run, manifest, 2, settings, use_gpu=False)
    for row in subset(manifest, "train").to_pylist() + subset(manifest, "val").to_pylist():
        shutil.copy(tiny_root / row["video_id"], row["path"])
    result = train_test_register(experiment, settings)
    assert result.run == run
    assert unreadable.read(run.folder) == []
    assert_undisturbed(result, trained)


@pytest.mark.slow
def test_two_workers_train_to_the_end_with_what_is_left(cluster, spoilt, new_run):
    manifest, videos = spoilt
    train(new_run, manifest, 2, Settings(workers=2, max_unreadable_share=0.2), use_gpu=False)
    assert [step for step, _ in curve(new_run)] == list(range(1, 7))
    assert np.isfinite([loss for _, loss in curve(new_run)]).all()
    assert {clip.video_id for clip in unreadable.read(new_run.folder)} == set(videos)
    validated = next(record["metrics"] for record in new_run.read_metrics() if record["kind"] == "val")
    assert validated["clips"] == subset(manifest, "val").num_rows - 1


def test_a_test_clip_that_cannot_be_read_stops_the_test(cluster, tiny, trained, spoilt):
    manifest, _ = spoilt
    first = subset(manifest, "test").to_pylist()[0]["path"]
    Path(first).unlink()
    with pytest.raises(BadInput, match=r"cannot be read: missing.*The test needs every clip") as error:
        predict_subset(manifest, trained.run.model, tiny, "test", 1, use_gpu=False)
    assert first in str(error.value)
    assert "\n" not in str(error.value)
