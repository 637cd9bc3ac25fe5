from functools import partial
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
import torch

from components.index import index
from components.ingest import CLIPS_PER_TASK, centre_clips, make_plan, subset, train_clips
from components.settings import Settings
from dtcm.config import with_overrides
from dtcm.data.datasets import load
from dtcm.data.plan import centre_rows
from dtcm.data.splits import assign_subsets
from dtcm.data.transforms import load_clip
from tests.support.processes import wait_for
from tests.support.runs import upload


@pytest.fixture(scope="module")
def manifest(cluster, tiny, tmp_path_factory):
    records, _ = assign_subsets(load(tiny.data), tiny.data, seed=0)
    return index(records, tiny.data, Settings(storage=str(tmp_path_factory.mktemp("runs"))))


@pytest.mark.parametrize(("world", "start"), [(1, 0), (2, 0), (3, 1)])
def test_workers_together_see_the_global_batches_of_the_plan(manifest, tiny, world, start):
    plan = make_plan(manifest, tiny)
    paths = subset(manifest, "train")["path"].to_pylist()
    labels = subset(manifest, "train")["label"].to_pylist()
    rows = [row for rank in range(world) for row in train_clips(manifest, tiny, rank, world, start).take_all()]
    expected = [row for step in range(start, plan.steps) for row in plan.rows(step)]
    assert sorted((row["step"], row["slot"]) for row in rows) == [(row.step, row.slot) for row in expected]
    found = {(row["step"], row["slot"]): row for row in rows}
    for row in expected:
        assert found[row.step, row.slot]["label"] == labels[row.video]
        assert np.array_equal(found[row.step, row.slot]["clip"], load_clip(paths[row.video], row, tiny.data))


def test_a_workers_clips_come_in_the_order_of_the_plan(manifest, tiny):
    order = [(row["step"], row["slot"]) for row in train_clips(manifest, tiny, 1, 2, 0).take_all()]
    assert order == sorted(order)


def test_batches_are_handed_on_as_bytes(manifest, tiny):
    (*batches, _) = train_clips(manifest, tiny, 0, 1, 4).iter_torch_batches(batch_size=tiny.optim.batch)
    shape = (tiny.optim.batch, tiny.data.frames, tiny.data.crop_px, tiny.data.crop_px, 3)
    assert [(batch["clip"].dtype, batch["clip"].shape) for batch in batches] == [(torch.uint8, shape)]


def test_clips_of_many_later_steps_are_decoded_while_one_runs(manifest, tiny, tiny_root, s3, proxied_s3, tmp_path):
    """Seen by the videos that are asked for, a request of which is a GET."""
    upload(tiny_root, f"{s3}/{tmp_path.name}")
    proxy = proxied_s3(lambda *_: None)
    there = [f"{s3}/{tmp_path.name}/{name}{proxy.options}" for name in manifest["video_id"].to_pylist()]
    remote = manifest.set_column(manifest.column_names.index("path"), "path", pa.array(there))
    long = with_overrides(tiny, {"optim.epochs": 40})
    batches = iter(train_clips(remote, long, 0, 1, 0).iter_torch_batches(batch_size=tiny.optim.batch))
    first = next(batches)
    fetched = partial(videos_fetched, proxy, at_least=4 * CLIPS_PER_TASK)
    paths = wait_for(fetched, "four tasks to be done for one batch that was taken")
    assert first["step"].tolist() == [0] * tiny.optim.batch
    assert len(paths) >= 4 * CLIPS_PER_TASK
    trained_on = subset(manifest, "train")["video_id"].to_pylist()
    assert {urlsplit(path).path.partition(f"/{tmp_path.name}/")[2] for path in paths} == set(trained_on)


def videos_fetched(proxy, at_least):
    """Paths of the answered requests for videos, once there are so many."""
    paths = [path for command, path in list(proxy.answered) if command == "GET" and ".mp4" in path]
    return paths if len(paths) >= at_least else []


@pytest.mark.parametrize("world", [1, 2])
def test_every_test_clip_comes_once_and_central(manifest, tiny, world):
    part = subset(manifest, "test").to_pylist()
    rows = [row for rank in range(world) for row in centre_clips(manifest, tiny, "test", rank, world).take_all()]
    assert sorted(row["video"] for row in rows) == list(range(len(part)))
    for row in rows:
        video = part[row["video"]]
        expected = load_clip(video["path"], centre_rows((video["frames"],), tiny.data)[0], tiny.data)
        assert row["label"] == video["label"]
        assert np.array_equal(row["clip"], expected)


def test_a_worker_finds_the_same_clips_in_the_cache(manifest, tiny, tmp_path):
    settings = Settings(cache_bytes=2**30, cache_dir=str(tmp_path / "cache"))
    plain = train_clips(manifest, tiny, 0, 1, 0).take_all()
    cached = train_clips(manifest, tiny, 0, 1, 0, cache=settings.clip_cache).take_all()
    assert [(row["step"], row["slot"]) for row in cached] == [(row["step"], row["slot"]) for row in plain]
    assert all(np.array_equal(one["clip"], other["clip"]) for one, other in zip(cached, plain, strict=True))
    assert len(list((tmp_path / "cache").glob("*.npy"))) == subset(manifest, "train").num_rows
    assert Settings().clip_cache is None
