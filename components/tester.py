"""The one evaluator: the central clip, centre-cropped, of every video of a subset, by Ray Data.

Ray decodes in tasks and predicts in actors that hold the model; the result is a table with one row per
video, from which every figure is computed.
"""

import os
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ray.data import ActorPoolStrategy

from components.ingest import centre_clips, subset
from components.storage import Folder
from dtcm import metrics
from dtcm.bundle import FILES, Bundle, bundle_from_files
from dtcm.config import Experiment


class Predictor:
    """A model in an actor: adds logits and inconsistency to batches of clips."""

    def __init__(self, model: Folder, threads: int) -> None:
        torch.set_num_threads(threads)
        self.bundle = read_bundle(model, "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Rows of clips in, rows of figures out."""
        prediction = self.bundle.predict(batch["clip"])
        return {
            "video": batch["video"],
            "logits": prediction.logits.numpy(),
            "inconsistency": prediction.inconsistency.numpy(),
        }


def predict_subset(
    manifest: pa.Table, model: Folder, experiment: Experiment, name: str, workers: int, use_gpu: bool
) -> pa.Table:
    """Predictions of the bundle in a folder for every video of a subset.

    Returns:
        A table sorted by video_id: video_id, class_name, label, predicted, logits, inconsistency, dv.
    """
    part = subset(manifest, name)
    predictions = centre_clips(manifest, experiment, name).map_batches(
        Predictor,
        fn_constructor_args=(model, max(1, (os.cpu_count() or 1) // workers)),
        batch_size=experiment.optim.batch,
        compute=ActorPoolStrategy(size=workers),
        num_gpus=1 if use_gpu else 0,
        num_cpus=0 if use_gpu else 1,
    )
    rows = sorted(predictions.take_all(), key=lambda row: row["video"])
    logits = np.stack([row["logits"] for row in rows])
    return pa.table(
        {
            "video_id": part["video_id"],
            "class_name": part["class_name"],
            "label": part["label"],
            "predicted": logits.argmax(axis=1),
            "logits": pa.array(list(logits)),
            "inconsistency": [float(row["inconsistency"]) for row in rows],
            "dv": part["dv"],
        }
    )


def read_bundle(model: Folder, device: str = "cpu") -> Bundle:
    """The bundle in a folder on disk or S3."""
    return bundle_from_files({name: model.read(name) for name in FILES}, device)


def score(predictions: pa.Table) -> dict[str, float]:
    """The figures of a table of `predict_subset`."""
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    return metrics.summary(logits, labels, predictions["inconsistency"].to_numpy())
