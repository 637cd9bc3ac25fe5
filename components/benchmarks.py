"""Measurements of what Ray costs, against the same work without it, in one run on one machine."""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import ray
import torch

from components.audit import stream
from components.cluster import cluster, prepare, start_here
from components.index import index
from components.ingest import make_plan, subset, train_clips
from components.runs import open_run
from components.settings import Settings
from components.trainer import train
from components.workflow import find_videos
from dtcm.benchmarks import decode_clip, loop_beside_decoders, plain_step_times
from dtcm.config import Experiment, with_overrides
from dtcm.data.datasets import classes
from dtcm.data.decode import decode_all
from dtcm.data.transforms import load_clip

TIMEOUT_S = 600.0
RAYS_NICENESS = 15
"""What Ray adds to the niceness of its workers, unless RAY_worker_niceness says otherwise."""


def ray_ratios(experiment: Experiment, clips: int, steps: int) -> dict[str, float]:
    """Ray Data's clips per second over the bare decoder's, Ray Train's step over a plain one, two workers over one.

    Args:
        experiment: its data are decoded and its model is trained.
        clips: how many clips to decode each way.
        steps: training steps each way; the first fifth warms up and does not count.
    """
    records = find_videos(experiment).records
    experiment = with_overrides(experiment, {"optim.epochs": 1 + steps * experiment.optim.batch // len(records)})
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(storage=folder)
        with cluster(settings) as use_gpu:
            manifest = index(records, experiment.data, settings)
            figures = _decoding(manifest, experiment, clips)
            figures |= _training(manifest, experiment, len(classes(records)), settings, use_gpu)
        with cluster(replace(settings, workers=2)) as use_gpu:  # with a CPU for decoding beside two workers
            figures |= _scaling(manifest, experiment, len(classes(records)), settings, use_gpu)
    return figures


def index_ratio(paths: Sequence[str], videos: int, cores: int = 0) -> float:
    """Videos per second of the index over those of decoding alone, both on so many cores; 0: on all.

    Both go over the same files until `videos` were read, as politely as Ray's workers do; neither counts its start.
    """
    cores = cores or os.cpu_count() or 1
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])  # of this process and those that it starts
    try:
        return _index_ratio(paths, videos, cores)
    finally:
        os.sched_setaffinity(0, before)


def _index_ratio(paths: Sequence[str], videos: int, cores: int) -> float:
    files = [str(Path(path).resolve()) for path, _ in zip(itertools.cycle(paths), range(videos), strict=False)]
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=os.nice, initargs=(RAYS_NICENESS,)) as pool:
        list(pool.map(_decode_whole, files[: 8 * cores]))
        start_s = time.perf_counter()
        list(pool.map(_decode_whole, files, chunksize=8))
        bare_s = time.perf_counter() - start_s
    rows = [{"path": path, "bytes": Path(path).stat().st_size, "modified_s": 0.0} for path in files]
    prepare()
    start_here(cores)
    try:
        list(stream(rows[: 32 * cores], TIMEOUT_S))
        start_s = time.perf_counter()
        list(stream(rows, TIMEOUT_S))
        index_s = time.perf_counter() - start_s
    finally:
        ray.shutdown()
    return bare_s / index_s


def _decode_whole(path: str) -> int:
    torch.set_num_threads(1)
    return sum(len(chunk) for chunk in decode_all(path))


def _decoding(manifest: pa.Table, experiment: Experiment, clips: int) -> dict[str, float]:
    """Both ways use as many processes as the machine has cores and neither counts its start."""
    epochs = 1 + clips // subset(manifest, "train").num_rows
    planned = with_overrides(experiment, {"optim.epochs": epochs})
    plan, paths = make_plan(manifest, planned), subset(manifest, "train")["path"].to_pylist()
    rows = [row for step in range(plan.steps) for row in plan.rows(step)]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_clip, paths[:cores], rows[:cores], [plan.data] * cores))
        start_s = time.perf_counter()
        list(pool.map(decode_clip, [paths[row.video] for row in rows], rows, [plan.data] * len(rows), chunksize=8))
        bare_s = time.perf_counter() - start_s
    batches = iter(train_clips(manifest, planned, 0, 1, 0).iter_batches(batch_size=plan.batch, prefetch_batches=2))
    next(batches)
    start_s, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch["label"])
    ray_s = time.perf_counter() - start_s
    bare, with_ray = len(rows) / bare_s, count / ray_s
    return {"bare_clips_per_s": bare, "ray_clips_per_s": with_ray, "decoding_ratio": with_ray / bare}


def _training(
    manifest: pa.Table, experiment: Experiment, num_classes: int, settings: Settings, use_gpu: bool
) -> dict[str, float]:
    """The plain loops run as politely as Ray's workers do: other processes of the machine take time from both alike."""
    plan, part = make_plan(manifest, experiment), subset(manifest, "train").to_pylist()
    paths, labels = ([row[column] for row in part] for column in ("path", "label"))
    batches = []
    for step in range(min(8, plan.steps)):
        rows = plan.rows(step)
        clips = [torch.from_numpy(load_clip(paths[row.video], row, plan.data)) for row in rows]
        batches.append((torch.stack(clips), torch.tensor([labels[row.video] for row in rows])))
    endless = list(itertools.islice(itertools.cycle(range(len(batches))), plan.steps))
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=os.nice, initargs=(RAYS_NICENESS,)) as pool:
        in_memory_s = pool.submit(_loop_in_memory, experiment, num_classes, batches, endless).result()
        plain_s = pool.submit(loop_beside_decoders, experiment, num_classes, plan, paths, labels).result()
    steps = _train(manifest, experiment, num_classes, settings, use_gpu)
    waiting = sum(step["wait_s"] for step in steps) / sum(step["step_s"] for step in steps)
    with_ray_s, plain_s, in_memory_s = (
        statistics.median(times)
        for times in ([step["step_s"] for step in steps], plain_s[plan.steps // 5 :], in_memory_s[plan.steps // 5 :])
    )
    return {
        "step_ratio": with_ray_s / plain_s,
        "in_memory_ratio": with_ray_s / in_memory_s,
        "wait_share": waiting,
        "train_clips_per_s": plan.batch / with_ray_s,
    }


def _scaling(
    manifest: pa.Table, experiment: Experiment, num_classes: int, settings: Settings, use_gpu: bool
) -> dict[str, float]:
    """The same global batches by one worker and by two, one thread each; on CPUs where there are no two GPUs."""
    one_s, two_s = (
        statistics.median(
            step["step_s"]
            for step in _train(
                manifest, experiment, num_classes, replace(settings, run=f"{n}-workers", workers=n, threads=1), use_gpu
            )
        )
        for n in (1, 2)
    )
    return {"two_workers_ratio": one_s / two_s}


def _train(
    manifest: pa.Table, experiment: Experiment, num_classes: int, settings: Settings, use_gpu: bool
) -> list[dict[str, float]]:
    """What Ray Train records of each step; the first fifth warms up and is left out."""
    run = open_run(experiment, settings, manifest)
    train(run, manifest, num_classes, settings, use_gpu)
    steps = [record["metrics"] for record in run.read_metrics() if record["kind"] == "train"]
    return steps[len(steps) // 5 :]


def _loop_in_memory(
    experiment: Experiment, num_classes: int, batches: list[tuple[torch.Tensor, torch.Tensor]], order: list[int]
) -> list[float]:
    return plain_step_times(experiment, num_classes, [batches[i] for i in order], threads=os.cpu_count() or 1)
