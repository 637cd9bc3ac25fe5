import os
import signal

import numpy as np
import pytest

from components.tester import Predictor, average_splits, predict_subset, read_bundle, score
from dtcm import config, metrics
from dtcm.data.transforms import load_clip
from dtcm.data.views import Views, view_row
from dtcm.errors import BadInput


@pytest.fixture
def manifest(trained):
    return trained.run.read_table("manifest.parquet")


def logits(table):
    return np.array(table["logits"].to_pylist())


def test_a_prediction_depends_neither_on_the_batch_nor_on_workers_nor_on_order(cluster, trained, manifest, tiny):
    first = predict_subset(manifest, trained.run.model, tiny, "test", 1, use_gpu=False)
    other_batch = config.with_overrides(tiny, {"optim.batch": 3})
    shuffled = manifest.take(np.random.default_rng(0).permutation(manifest.num_rows))
    again = predict_subset(shuffled, trained.run.model, other_batch, "test", 2, use_gpu=False)
    assert again["video_id"] == first["video_id"]
    assert logits(again) == pytest.approx(logits(first), abs=1e-5)  # float32 sums in another order
    assert again["predicted"] == first["predicted"]


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_ends_the_test_in_a_sentence(cluster, trained, manifest, tiny, monkeypatch):
    class Dying(Predictor):
        def predict(self, files, clips, batch):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("components.tester.Predictor", Dying)
    with pytest.raises(BadInput, match="A worker that tests the model was lost 4 times"):
        predict_subset(manifest, trained.run.model, tiny, "test", 1, use_gpu=False)


def test_views_are_averaged_as_probabilities(cluster, trained, manifest, tiny):
    views = Views(clips=2, crops=3)
    found = predict_subset(manifest, trained.run.model, tiny, "test", 2, use_gpu=False, views=views)
    bundle, rows = read_bundle(trained.run.model), {row["video_id"]: row for row in manifest.to_pylist()}
    for row in found.slice(0, 2).to_pylist():
        video = rows[row["video_id"]]
        clips = [
            load_clip(video["path"], view_row(video["frames"], tiny.data, views, number), tiny.data)
            for number in range(6)
        ]
        shares = [metrics.probabilities(bundle.predict(clip[None]).logits.numpy())[0] for clip in clips]
        assert np.exp(row["logits"]) == pytest.approx(np.mean(shares, axis=0), abs=1e-5)


def test_the_score_holds_every_class_and_bin_of_darkness_and_the_speed(trained):
    predictions = trained.run.read_table("predictions.parquet")
    test, rows = score(predictions), predictions.to_pylist()
    for name in ("Left", "Right"):
        right = [row["label"] == row["predicted"] for row in rows if row["class_name"] == name]
        assert test[f"class/{name}"] == pytest.approx(np.mean(right))
    bins = {name: value for name, value in test.items() if name.startswith("dv/") and name.endswith(" clips")}
    assert sum(bins.values()) == test["clips"] == len(rows)
    assert test["clips_per_s"] > 0
    assert 0 <= test["ece"] <= 1


def test_splits_count_the_same():
    tests = [{"top1": 0.5, "top5": 1.0, "clips": 10}, {"top1": 0.8, "top5": 0.9, "clips": 1000}]
    # Student's t for one degree of freedom is 12.706; the standard error of 0.5 and 0.8 is 0.15, of 1 and 0.9 0.05.
    expected = {"top1": 0.65, "top1_spread": 12.706 * 0.15, "top5": 0.95, "top5_spread": 12.706 * 0.05}
    assert average_splits(tests) == pytest.approx(expected)
