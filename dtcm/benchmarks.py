"""Measurements that need no cluster: what enhancement costs, and training steps in a plain loop."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dtcm.config import Experiment
from dtcm.models import create_enhancer
from dtcm.models.dtcm import build
from dtcm.seeding import seed_everything
from dtcm.step import make_optimizer, train_step


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
        base, *times = _medians_s(calls, rounds, device)
    return {k: value / base for k, value in zip(ks, times, strict=True)}


def plain_step_times(
    experiment: Experiment, num_classes: int, batches: Sequence[tuple[Tensor, Tensor]], steps: int, threads: int
) -> list[float]:
    """Seconds of each training step on uint8 batches that lie in memory: what a step costs by itself."""
    torch.set_num_threads(threads)
    seed_everything(experiment.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(experiment.model, num_classes, experiment.data.frames, experiment.data.crop_px).to(device).train()
    optimizer = make_optimizer(model, experiment.optim)
    times_s = []
    for clips, labels in itertools.islice(itertools.cycle(batches), steps):
        start_s = time.perf_counter()
        train_step(model, optimizer, clips, labels, experiment.loss)
        times_s.append(time.perf_counter() - start_s)
    return times_s


def _medians_s(calls: Sequence[Callable[[], object]], rounds: int, device: str) -> list[float]:
    times_s: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, taken in zip(calls, times_s, strict=True):
            start_s = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start_s)
    return [statistics.median(taken[1:]) for taken in times_s]  # the first round warms up
