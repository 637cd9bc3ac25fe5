"""The one evaluator: the central clip, centre-cropped, of every video of a subset.

Ray Data decodes and actors that hold the model predict, each its share of the clips. The result is a
table with one row per video, from which every figure is computed.
"""

import os
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data import DataIterator

from components.ingest import centre_clips, subset
from components.storage import Folder
from dtcm import metrics
from dtcm.bundle import FILES, Bundle, bundle_from_files
from dtcm.config import Experiment
from dtcm.data.leaks import leak_column

LEAK_FREE = ("clips", "top1", "top1_low", "top1_high", "top5")
"""Figures that are also given without the clips that share something with training."""
RETRIES = 3
"""How often a predictor that is lost begins its share again."""


class Predictor:
    """A model in an actor of its own."""

    def __init__(self, model: Folder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.bundle = read_bundle(model, "cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, clips: DataIterator, batch: int) -> list[tuple[int, np.ndarray, float]]:
        """Place in the subset, logits [C] and inconsistency of every clip of a stream."""
        found = []
        for rows in clips.iter_batches(batch_size=batch, prefetch_batches=2):
            logits, inconsistency = self.bundle.predict(rows["clip"])
            found += zip(rows["video"].tolist(), logits.numpy(), inconsistency.tolist(), strict=True)
        return found


def predict_subset(
    manifest: pa.Table, model: Folder, experiment: Experiment, name: str, workers: int, use_gpu: bool
) -> pa.Table:
    """Predictions of the bundle in a folder for every video of a subset.

    Returns:
        A table sorted by video_id: video_id, class_name, label, predicted, logits, inconsistency, dv, and what the
        video shares with training (`leak`, empty if nothing; only for "test").
    """
    needs: dict[str, Any] = {"num_gpus": 1} if use_gpu else {"num_cpus": 1}
    actor: Any = ray.remote(Predictor).options(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)
    workers, batch = min(workers, subset(manifest, name).num_rows), experiment.optim.batch
    threads = max(1, (os.cpu_count() or 1) // workers)
    predictors = [actor.remote(model, threads) for _ in range(workers)]
    calls = [
        predictor.predict.remote(centre_clips(manifest, experiment, name, rank, workers).iterator(), batch)
        for rank, predictor in enumerate(predictors)
    ]
    _, logits, inconsistency = zip(*sorted(chain(*ray.get(calls)), key=lambda row: row[0]), strict=True)
    part = subset(manifest, name)
    return pa.table(
        {
            "video_id": part["video_id"],
            "class_name": part["class_name"],
            "label": part["label"],
            "predicted": [int(row.argmax()) for row in logits],
            "logits": pa.array(list(logits)),
            "inconsistency": list(inconsistency),
            "dv": part["dv"],
            "leak": leak_column(manifest) if name == "test" else [""] * part.num_rows,
        }
    )


def read_bundle(model: Folder, device: str = "cpu") -> Bundle:
    """The bundle in a folder on disk or S3."""
    return bundle_from_files({name: model.read(name) for name in FILES}, device)


def score(predictions: pa.Table) -> dict[str, float]:
    """The figures of a table of `predict_subset`; those without the clips that leak begin with leak_free_."""
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    inconsistency = predictions["inconsistency"].to_numpy()
    clean = np.array(predictions["leak"].to_pylist()) == ""
    test = metrics.summary(logits, labels, inconsistency)
    if clean.any():
        leak_free = metrics.summary(logits[clean], labels[clean], inconsistency[clean])
        test |= {f"leak_free_{name}": leak_free[name] for name in LEAK_FREE}
    return test
