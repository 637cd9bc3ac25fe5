"""Measurements that need no cluster: what enhancement and darkness cost, and training steps in a plain loop."""

import itertools
import multiprocessing
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtcm.canary import choose
from dtcm.config import DataConfig, Experiment
from dtcm.darkness import darkness, judge, mean_luma, sampled_indices
from dtcm.data.decode import decode_all
from dtcm.data.plan import Plan, PlanRow
from dtcm.data.transforms import load_clip
from dtcm.errors import BadInput
from dtcm.execution import prepared
from dtcm.heap import keep_freed_memory
from dtcm.models import create_enhancer
from dtcm.models.dtcm import build
from dtcm.seeding import seed_everything
from dtcm.step import make_optimizer, train_step

CLIPS_AHEAD = 256
"""Clips that may be decoded or in work before their step, as in a training."""


def enhancer_ratios(ks: Sequence[int], frames: int, size: int, device: str, rounds: int) -> dict[int, float]:
    """Time of the light enhancer at each k over Zero-DCE's, on one clip, forward only (Table IX).

    Both are timed in turn within each round, so that other load on the machine meets both; the ratio is
    that of the medians.
    """
    light, zero_dce = (create_enhancer(name).eval().to(device) for name in ("light", "zero-dce"))
    clip_BCTHW = torch.rand(1, 3, frames, size, size, device=device)
    with torch.inference_mode():
        calls: list[Callable[[], object]] = [lambda: zero_dce(clip_BCTHW, 1)]
        calls += [lambda k=k: light(clip_BCTHW, k) for k in ks]
        base, *times = medians_s(calls, rounds, device)
    return {k: value / base for k, value in zip(ks, times, strict=True)}


def plain_step_times(
    experiment: Experiment, num_classes: int, batches: Iterable[tuple[Tensor, Tensor]], threads: int
) -> list[float]:
    """Seconds from one training step on uint8 batches to the next, in a loop without any framework."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True
    seed_everything(experiment.seed)
    model = build(experiment.model, num_classes, experiment.data.frames, experiment.data.crop_px)
    execution = choose(model, experiment, device).execution
    model = prepared(model.to(device).train(), execution)
    optimizer = make_optimizer(model, experiment.optim)
    times_s, last_s = [], time.perf_counter()
    for clips, labels in batches:
        train_step(model, optimizer, clips, labels, experiment.loss, execution=execution)
        times_s.append(time.perf_counter() - last_s)
        last_s += times_s[-1]
    return times_s


def loop_beside_decoders(
    experiment: Experiment, num_classes: int, plan: Plan, paths: Sequence[str], labels: Sequence[int]
) -> list[float]:
    """`plain_step_times` of a plan's steps with as many processes as cores decoding ahead, as a training has them."""
    cores = os.cpu_count() or 1
    rows = [row for step in range(plan.steps) for row in plan.rows(step)]
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            ahead: deque[Future[np.ndarray]] = deque()
            waiting = iter(rows)
            for step in range(plan.steps):
                for row in itertools.islice(waiting, CLIPS_AHEAD - len(ahead)):
                    ahead.append(pool.submit(decode_clip, paths[row.video], row, plan.data))
                clips = [torch.from_numpy(ahead.popleft().result()) for _ in range(plan.batch)]
                yield torch.stack(clips), torch.tensor([labels[row.video] for row in plan.rows(step)])

        return plain_step_times(experiment, num_classes, batches(), threads=cores)


def decode_clip(path: str, row: PlanRow, data: DataConfig) -> np.ndarray:
    """A clip, decoded with one thread."""
    torch.set_num_threads(1)
    return load_clip(path, row, data)


def darkness_ratios(paths: Sequence[str], rounds: int = 5) -> dict[str, float]:
    """Darkness of videos by the rule "released", read as `darkness` does, against two other ways.

    The others: every frame decoded; and the way of the script published with Dark-48, eight frames by
    decord's get_batch and OpenCV's YCrCb. All decode with one thread, each in a process of its own, in turn
    within each round. Returns the ratios of the median times, the peak memory of each way in MiB over that of its
    process with all libraries and no video yet, and how many videos the other ways judged as `darkness` did.
    """
    ways = {"seek": _darkness_seek, "all": _darkness_all, "released": _darkness_released}
    spawn = multiprocessing.get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, mp_context=spawn) for name in ways}
    try:
        base_mib = {name: pool.submit(_begin_peak).result() for name, pool in pools.items()}
        times_s: dict[str, list[float]] = {name: [] for name in ways}
        found: dict[str, list[float]] = {}
        for _ in range(rounds + 1):
            for name, pool in pools.items():
                seconds, found[name] = pool.submit(_timed, ways[name], list(paths)).result()
                times_s[name].append(seconds)
        peak_mib = {name: pool.submit(_peak_mib).result() - base_mib[name] for name, pool in pools.items()}
    finally:
        for pool in pools.values():
            pool.shutdown()
    median_s = {name: statistics.median(times[1:]) for name, times in times_s.items()}  # the first round warms up
    others = ("all", "released")
    return (
        {f"time_over_{name}": median_s["seek"] / median_s[name] for name in others}
        | {f"{name}_mib": mib for name, mib in peak_mib.items()}
        | {f"same_as_{name}": float(sum(np.equal(found["seek"], found[name]))) for name in others}
    )


def _darkness_seek(path: str) -> float:
    return darkness(path, rule="released").dv


def _darkness_all(path: str) -> float:
    luma_T = np.concatenate([mean_luma(frames_THWC) for frames_THWC in decode_all(path)])
    return judge(luma_T[sampled_indices(len(luma_T), rule="released")], "released").dv


def _darkness_released(path: str) -> float:
    cv2, decord = _libraries()
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    frames_THWC = reader.get_batch(sampled_indices(len(reader), rule="released")).asnumpy()
    luma_8 = [cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2YCrCb)[..., 0].mean() for frame_HWC in frames_THWC]
    return judge(np.array(luma_8), "released").dv


def _libraries() -> tuple[Any, Any]:
    """OpenCV and decord."""
    try:
        import cv2
        import decord
    except ImportError as error:
        raise BadInput('This way needs OpenCV and decord: pip install -e ".[dev]".') from error
    return cv2, decord


def _timed(way: Callable[[str], float], paths: list[str]) -> tuple[float, list[float]]:
    torch.set_num_threads(1)
    start_s = time.perf_counter()
    found = [way(path) for path in paths]
    return time.perf_counter() - start_s, found


def _begin_peak() -> float:
    """Forget the peak of importing all libraries, whichever way needs them; returns the memory now, in MiB."""
    _libraries()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    return _peak_mib()


def _peak_mib() -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def medians_s(calls: Sequence[Callable[[], object]], rounds: int, device: str) -> list[float]:
    """Median seconds of each call; they take turns, so that other load on the machine meets all."""
    times_s: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, taken in zip(calls, times_s, strict=True):
            start_s = time.perf_counter()
            call()
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start_s)
    return [statistics.median(taken[1:]) for taken in times_s]  # the first round warms up
