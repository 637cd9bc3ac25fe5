"""Videos in, actions out: Ray Data reads files on disk or S3 and predicts their clips, as the evaluator does.

Files are first read completely, as by the index, so that what is broken goes to the quarantine. What was predicted is
kept in parts beside the result: the same command again does only what is missing.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import ray.data
import torch
from pyarrow.fs import FileType
from ray.data import ActorPoolStrategy

from components.audit import audit_files, key
from components.enhance import enhance_missing
from components.ingest import clip_range
from components.parts import Parts
from components.settings import Settings
from components.storage import Folder, folder_at, to_parquet
from dtcm import metrics
from dtcm.bundle import EXPERIMENT, FILES, WEIGHTS, Bundle, bundle_from_files
from dtcm.config import DataConfig
from dtcm.data.clips import clip_indices
from dtcm.data.datasets.folder import VIDEO_SUFFIXES
from dtcm.data.decode import UnreadableVideo
from dtcm.data.files import File, absolute, filesystem, is_folder, join, list_files
from dtcm.data.plan import centre_rows
from dtcm.data.records import QUARANTINE, to_table
from dtcm.data.transforms import load_clip
from dtcm.data.views import windows
from dtcm.errors import BadInput
from dtcm.heap import keep_freed_memory

SEGMENT_FRAMES = 512
"""Frames of windows that are decoded in one go; windows that overlap share them."""

PREDICTED = pa.schema(
    [
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("modified_s", pa.float64()),
        ("sha256", pa.string()),
        ("start_frame", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("classes", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("inconsistency", pa.float32()),
        ("dv", pa.float64()),
    ]
)
"""A clip: whose and from when to when, its five likeliest classes, the best first, and how dark its video is.

Of a video shorter than a clip the clip loops, and its end is the video's. Times are nan where the file does not tell
its rate."""

Row = dict[str, Any]


class Predicted(NamedTuple):
    """What became of the videos."""

    table: pa.Table
    """Rows of PREDICTED, sorted by path and start."""
    quarantine: pa.Table
    clips: int
    """Clips predicted now; the others were known."""
    enhanced: int
    """Videos brightened now."""


class Segment(NamedTuple):
    """Windows of a video that are decoded together."""

    path: str
    total: int
    starts: tuple[int, ...]


def predict_videos(
    sources: Sequence[str], model: Folder, out: str, hop: int, enhanced: str, settings: Settings, use_gpu: bool
) -> Predicted:
    """Predict every video of files and folders, on the connected cluster, and write the result.

    Args:
        sources: files and folders, by path or s3:// URI.
        model: folder of a bundle.
        out: Parquet file for the predictions; the quarantine and what resuming needs are written beside it.
        hop: frames from one window to the next; 0 for the central clip alone.
        enhanced: folder for the brightened videos; empty if they are not wanted.
        settings: workers, and the longest that a video may take to read.
        use_gpu: whether workers compute on GPUs.

    Raises BadInput where there is no video, or `out` is no Parquet file.
    """
    if not out.endswith(".parquet"):
        raise BadInput(f"The predictions are a Parquet file; let --out end in .parquet, not {out!r}.")
    place, _, name = absolute(out).rpartition("/")
    folder, stem = folder_at(place), name.removesuffix(".parquet")
    files = {file: model.read(file) for file in FILES}
    bundle = bundle_from_files(files)
    videos = find_videos(sources)
    known, _ = audit_files([_stat(video) for video in videos], folder / f"{stem}.audited", settings.video_timeout_s)
    rows = [video | known[key(video)] for video in videos]
    good, bad = [row for row in rows if not row["kind"]], [row for row in rows if row["kind"]]
    journal = folder / f"{stem}.predicted" / _digest(files, hop)
    done, gpus = _read_parts(journal), settings.gpus_per_worker if use_gpu else 0.0
    found, failed = _predict_missing(good, done, files, bundle, hop, journal, settings.workers, gpus)
    lost = {row["path"] for row in failed}
    good, bad = [row for row in good if row["path"] not in lost], bad + failed
    brightened = 0
    if enhanced:
        to = folder_at(enhanced)
        brightened, failed = enhance_missing(good, files, to, journal, settings.workers, gpus)
        bad += failed
    current = {key(row) for row in good}
    once = {(*key(row), row["start_frame"]): row for row in [*done, *found]}  # two commands at once may do a clip twice
    table = pa.Table.from_pylist([row for row in once.values() if key(row) in current], PREDICTED)
    table = table.sort_by([("path", "ascending"), ("start_frame", "ascending")])
    quarantine = to_table(bad, QUARANTINE)
    folder.write(f"{stem}.quarantine.parquet", to_parquet(quarantine))
    folder.write(f"{stem}.parquet", to_parquet(table))
    return Predicted(table, quarantine, len(found), brightened)


def find_videos(sources: Sequence[str]) -> list[Row]:
    """video_id (the path below its source), path, bytes and modified_s of every video. Raises BadInput if none."""
    videos: dict[str, Row] = {}
    for source in map(absolute, sources):
        for file in _listed(source):
            path = join(source, file.name) if is_folder(source) else source
            videos[path] = {"video_id": file.name, "path": path, "bytes": file.bytes, "modified_s": file.modified_s}
    if not videos:
        raise BadInput(f"There is no video in {', '.join(sources)}; name files, or folders that hold videos.")
    return list(videos.values())


def _listed(source: str) -> list[File]:
    """The videos in a folder by their names, or a file whatever its name. Raises BadInput if there is neither."""
    if is_folder(source):
        return [file for file in list_files(source) if PurePosixPath(file.name).suffix.lower() in VIDEO_SUFFIXES]
    system, place = filesystem(source)
    info = system.get_file_info(place)
    if info.type != FileType.File:
        raise BadInput(f"There is no {source}; name files, or folders that hold videos.")
    return [File(info.base_name, info.size, info.mtime_ns / 1e9)]


def _predict_missing(
    good: list[Row], done: list[Row], files: Row, bundle: Bundle, hop: int, journal: Folder, workers: int, gpus: float
) -> tuple[list[Row], list[Row]]:
    """Predict the windows that are not known, writing them down as they come; and videos that failed in it."""
    data, of_path = bundle.experiment.data, {row["path"]: row for row in good}
    known = {(*key(row), row["start_frame"]) for row in done}
    segments = [
        Segment(row["path"], row["frames"], starts)
        for row in good
        for starts in _segments([s for s in windows(row["frames"], data, hop) if (*key(row), s) not in known], data)
    ]
    found, failed = [], {}
    with Parts(journal, PREDICTED) as written:
        for clip in _stream(segments, files, data, bundle.experiment.optim.batch, workers, gpus):
            video = of_path[segments[clip["segment"]].path]
            if clip["error"]:
                failed[video["path"]] = video | {"kind": "changed", "reason": clip["error"]}
                continue
            found.append(_row(video, clip, bundle))
            written.add(found[-1])
    return found, list(failed.values())


def _stream(
    segments: list[Segment], files: Row, data: DataConfig, batch: int, workers: int, gpus: float
) -> Iterator[Row]:
    """Segment, start, logits and inconsistency of every window, as they are predicted."""
    if not segments:
        return
    needs: dict[str, Any] = {"num_gpus": gpus} if gpus else {"num_cpus": 1}
    each = max(len(segment.starts) for segment in segments)
    clips = clip_range(len(segments), each, data).flat_map(partial(_load, segments=segments, data=data))
    rows = clips.map_batches(
        _Predictor,
        batch_size=batch,
        compute=ActorPoolStrategy(size=workers),
        fn_constructor_args=(ray.put(files), max(1, (os.cpu_count() or 1) // workers)),
        **needs,
    )
    for block in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from cast(pa.Table, block).to_pylist()


class _Predictor:
    """The model in an actor of Ray Data's."""

    def __init__(self, files: ray.ObjectRef, threads: int) -> None:
        torch.set_num_threads(threads)
        if not ray.get_gpu_ids():
            keep_freed_memory()
        self.bundle = bundle_from_files(ray.get(files), "cuda" if ray.get_gpu_ids() else "cpu")

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        logits, inconsistency = self.bundle.predict(rows.pop("clip"))
        return rows | {"logits": logits.numpy(), "inconsistency": inconsistency.numpy()}


def _load(number: Row, segments: list[Segment], data: DataConfig) -> list[Row]:
    """The windows of a segment as clips, cut from frames that are decoded once."""
    segment = segments[number["id"]]
    frames = [clip_indices(segment.total, data.frames, data.stride, start) for start in segment.starts]
    needed, places = np.unique(frames, return_inverse=True)
    centre, error = centre_rows((segment.total,), data)[0], ""
    try:
        pixels = load_clip(segment.path, centre._replace(frames=tuple(needed.tolist())), data)
    except (UnreadableVideo, OSError) as problem:
        error = f"it could be read before and cannot now ({problem})"
        pixels = np.zeros((len(needed), data.crop_px, data.crop_px, 3), np.uint8)
    return [
        {"segment": number["id"], "start": start, "error": error, "clip": pixels[place]}
        for start, place in zip(segment.starts, places.reshape(len(frames), -1), strict=True)
    ]


def _segments(starts: list[int], data: DataConfig) -> Iterator[tuple[int, ...]]:
    """Starts in order, in parts whose windows span at most SEGMENT_FRAMES, or one window."""
    part: list[int] = []
    for start in starts:
        if part and start + (data.frames - 1) * data.stride - part[0] >= SEGMENT_FRAMES:
            yield tuple(part)
            part = []
        part.append(start)
    if part:
        yield tuple(part)


def _row(video: Row, clip: Row, bundle: Bundle) -> Row:
    data, start = bundle.experiment.data, clip["start"]
    shares = metrics.probabilities(np.array([clip["logits"]]))[0]
    best = np.argsort(-shares, kind="stable")[:5]
    end, fps = min(start + (data.frames - 1) * data.stride + 1, video["frames"]), video["fps"] or np.nan
    return {name: video.get(name) for name in PREDICTED.names} | {
        "start_frame": start,
        "start_s": start / fps,
        "end_s": end / fps,
        "classes": [bundle.classes[place] for place in best],
        "probabilities": shares[best].tolist(),
        "inconsistency": clip["inconsistency"],
    }


def _stat(video: Row) -> Row:
    return {name: video[name] for name in ("path", "bytes", "modified_s")}


def _digest(files: dict[str, bytes], hop: int) -> str:
    """What a prediction depends on besides the video."""
    return hashlib.sha256(files[WEIGHTS] + files[EXPERIMENT] + str(hop).encode()).hexdigest()[:16]


def _read_parts(journal: Folder) -> list[Row]:
    names = [name for name in journal.names() if name.endswith(".parquet")]
    return [row for name in names for row in journal.read_table(name).to_pylist()]
