"""The one evaluator, used after training, by test_model.py and by promotion.

Ray Data decodes and actors that hold the model predict, each its share of the clips. The result is a table with one
row per video, from which every figure is computed. By default the central clip, centre-cropped, is judged (Sec. IV).
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data import DataIterator, Dataset
from ray.exceptions import RayActorError, RayTaskError

from components.ingest import clip_range, subset
from components.storage import Folder
from dtcm import metrics
from dtcm.bundle import FILES, Bundle, bundle_from_files
from dtcm.config import DataConfig, Experiment
from dtcm.data.container import UnreadableVideo
from dtcm.data.files import is_uri
from dtcm.data.leaks import leak_column
from dtcm.data.transforms import load_clip
from dtcm.data.views import Views, view_row
from dtcm.errors import BadInput
from dtcm.heap import keep_freed_memory
from dtcm.tables.statistics import accuracy

LEAK_FREE = ("clips", "top1", "top1_low", "top1_high", "top5")
"""Figures that are also given without the clips that share something with training."""
RETRIES = 3
"""How often a predictor that is lost begins its share again."""

Row = dict[str, Any]


class Predictor:
    """A model in an actor of its own."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        if not ray.get_gpu_ids():
            keep_freed_memory()

    def predict(self, files: dict[str, bytes], clips: DataIterator, batch: int) -> list[tuple[int, np.ndarray, float]]:
        """Number, logits [C] and inconsistency of every clip of a stream, by the bundle of these files.

        Raises BadInput for a clip that cannot be read: a test that leaves it out would be another test.
        """
        found, bundle = [], bundle_from_files(files, "cuda" if ray.get_gpu_ids() else "cpu")
        for rows in clips.iter_batches(batch_size=batch, prefetch_batches=2):
            if error := next(filter(None, rows["error"]), ""):
                raise BadInput(f"{error} The test needs every clip: mend the file and run the same command again.")
            logits, inconsistency = bundle.predict(rows["clip"])
            found += zip(rows["number"].tolist(), logits.numpy(), inconsistency.tolist(), strict=True)
        return found


def predict_subset(
    manifest: pa.Table,
    model: Folder,
    experiment: Experiment,
    name: str,
    workers: int,
    use_gpu: bool,
    views: Views | None = None,
    gpus_per_worker: float = 1.0,
) -> pa.Table:
    """Predictions of the bundle in a folder for every video of a subset.

    Each worker reserves a CPU or, with use_gpu, `gpus_per_worker`.

    Returns:
        A table sorted by video_id: video_id, class_name, label, predicted, logits (where several views are averaged,
        the logarithm of the mean probability), inconsistency, dv, and what the video shares with training (`leak`,
        empty if nothing; only for "test"). Its metadata tell how many clips were predicted in a second.

    Raises BadInput if a video can no longer be read, or if workers are lost again and again.
    """
    part, views = subset(manifest, name), views or Views()
    if not part.num_rows:
        raise BadInput(f"There is no {name} video left to judge; see the quarantine beside the manifest.")
    needs: dict[str, Any] = {"num_gpus": gpus_per_worker} if use_gpu else {"num_cpus": 1}
    actor: Any = ray.remote(Predictor).options(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)
    workers, batch = min(workers, part.num_rows), experiment.optim.batch
    files = ray.put({file: model.read(file) for file in FILES})
    predictors = [actor.remote(max(1, (os.cpu_count() or 1) // workers)) for _ in range(workers)]
    start_s = time.monotonic()
    calls = [
        predictor.predict.remote(files, _clips(part, experiment.data, views, rank, workers).iterator(), batch)
        for rank, predictor in enumerate(predictors)
    ]
    try:
        found = sorted(chain(*ray.get(calls)), key=lambda row: row[0])
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, BadInput) else error from None
    except RayActorError as error:
        raise BadInput(
            f"A worker that tests the model was lost {RETRIES + 1} times, as happens where memory runs out; the logs "
            "of Ray say more. Give the same command again, with fewer --settings.workers or more memory."
        ) from error
    speed = len(found) / (time.monotonic() - start_s)
    _, logits_VC, inconsistency_V = zip(*found, strict=True)
    logits_NC = _mean_over_views(np.stack(logits_VC), views.count)
    table = pa.table(
        {
            "video_id": part["video_id"],
            "class_name": part["class_name"],
            "label": part["label"],
            "predicted": logits_NC.argmax(axis=1),
            "logits": pa.array(list(logits_NC)),
            "inconsistency": np.reshape(inconsistency_V, (-1, views.count)).mean(axis=1),
            "dv": part["dv"],
            "leak": leak_column(manifest) if name == "test" else [""] * part.num_rows,
        }
    )
    return table.replace_schema_metadata({"clips_per_s": f"{speed:.4g}"})


def with_leaks(predictions: pa.Table, leaks: list[str]) -> pa.Table:
    """The same predictions with other reasons why clips leak, in their order."""
    place = predictions.column_names.index("leak")
    return predictions.set_column(place, "leak", pa.array(leaks, pa.string()))


def read_bundle(model: Folder, device: str = "cpu") -> Bundle:
    """The bundle in a folder on disk or S3."""
    return bundle_from_files({name: model.read(name) for name in FILES}, device)


def score(predictions: pa.Table) -> dict[str, float]:
    """The figures of a table of `predict_subset`.

    Those without the clips that leak begin with leak_free_. "class/NAME" is the accuracy of a class, "dv/BIN" that of
    a bin of darkness and "dv/BIN clips" how many clips it has; clips_per_s tells the speed of the test itself.
    """
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    inconsistency, right = predictions["inconsistency"].to_numpy(), right_clips(predictions)
    clean = np.array(predictions["leak"].to_pylist()) == ""
    test = metrics.summary(logits, labels, inconsistency)
    if clean.any():
        leak_free = metrics.summary(logits[clean], labels[clean], inconsistency[clean])
        test |= {f"leak_free_{name}": leak_free[name] for name in LEAK_FREE}
    if speed := (predictions.schema.metadata or {}).get(b"clips_per_s"):
        test["clips_per_s"] = float(speed)
    for name, (good, clips) in metrics.group_accuracy(right, predictions["class_name"].to_pylist()).items():
        test[f"class/{name}"] = good / clips
    for name, (good, clips) in metrics.group_accuracy(right, metrics.dv_bins(predictions["dv"].to_numpy())).items():
        test |= {f"dv/{name}": good / clips, f"dv/{name} clips": float(clips)}
    return test


def right_clips(predictions: pa.Table) -> np.ndarray:
    """Whether each clip of a table of `predict_subset` is right, [N]."""
    return predictions["label"].to_numpy() == predictions["predicted"].to_numpy()


def average_splits(tests: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean Top-1 and Top-5 over the splits of a data set, each counting the same (ARID's in Table III).

    With it half of Student's 95 % interval of the mean over the splits, top1_spread and top5_spread.
    """
    found = {name: accuracy([test[name] for test in tests], int(tests[0]["clips"])) for name in ("top1", "top5")}
    return {name: each.mean for name, each in found.items()} | {
        f"{name}_spread": each.seeds or 0.0 for name, each in found.items()
    }


def _clips(part: pa.Table, data: DataConfig, views: Views, rank: int, world: int) -> Dataset:
    """The views of every video, each once: numbers r, r + W, ... where number V i + j is view j of video i.

    Rows: number, error (why the clip is none; empty for one that could be read), clip uint8 [T, crop, crop, 3].
    """
    videos = list(zip(part["path"].to_pylist(), part["frames"].to_pylist(), strict=True))
    count = len(range(rank, len(videos) * views.count, world))
    load = partial(_view, videos=videos, data=data, views=views, rank=rank, world=world)
    return clip_range(count, 1, data).map(load)


def _view(row: Row, videos: list[tuple[str, int]], data: DataConfig, views: Views, rank: int, world: int) -> Row:
    number = rank + row["id"] * world
    path, total = videos[number // views.count]
    try:
        clip = load_clip(path, view_row(total, data, views, number % views.count), data)
    except (UnreadableVideo, OSError) as error:
        if is_uri(path) and not isinstance(error, UnreadableVideo):
            raise  # the store, not the video
        return {
            "number": number,
            "error": str(error),
            "clip": np.zeros((data.frames, *[data.crop_px] * 2, 3), np.uint8),
        }
    return {"number": number, "error": "", "clip": clip}


def _mean_over_views(logits_VC: np.ndarray, count: int) -> np.ndarray:
    if count == 1:
        return logits_VC
    shares_NVC = metrics.probabilities(logits_VC).reshape(-1, count, logits_VC.shape[1])
    return np.log(np.maximum(shares_NVC.mean(axis=1), np.finfo(np.float32).tiny)).astype(np.float32)
