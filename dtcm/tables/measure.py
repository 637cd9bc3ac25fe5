"""Time and memory of a row's model: one clip, forward only, on this machine."""

import statistics
import time
from typing import NamedTuple

import torch
from torch import nn

from dtcm.tables.entry import Counted

ROUNDS = 3


class Measured(NamedTuple):
    """One clip forward."""

    seconds: float
    """Median."""
    memory_mib: float | None
    """Largest that was allocated at once, weights included. None on a CPU, where torch does not count it."""


def measure(models: dict[str, Counted], device: str, rounds: int = ROUNDS) -> dict[str, Measured]:
    """Measure models in turn within each round, so that other load on the machine meets all of them.

    Args:
        models: name -> model, with the size of its clip. Weights are random: they change neither.
        device: "cpu" or "cuda".
        rounds: medians are over so many; one more before them warms up.

    Raises BadInput where an extra that a model needs is not installed.
    """
    built = {name: counted.model().to(device) for name, counted in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    memory_mib: dict[str, float | None] = {}
    for _ in range(rounds + 1):
        for name, counted in models.items():
            clip_BCTHW = torch.rand(1, 3, counted.frames, counted.size, counted.size, device=device)
            taken_s, memory_mib[name] = _forward(built[name], clip_BCTHW)
            seconds[name].append(taken_s)
    return {name: Measured(statistics.median(seconds[name][1:]), memory_mib[name]) for name in models}


@torch.inference_mode()
def _forward(model: nn.Module, clip_BCTHW: torch.Tensor) -> tuple[float, float | None]:
    if not clip_BCTHW.is_cuda:
        start_s = time.perf_counter()
        model(clip_BCTHW)
        return time.perf_counter() - start_s, None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before_bytes = torch.cuda.memory_allocated()
    start_s = time.perf_counter()
    model(clip_BCTHW)
    torch.cuda.synchronize()
    taken_s = time.perf_counter() - start_s
    weights_bytes = sum(parameter.nbytes for parameter in model.parameters())
    return taken_s, (torch.cuda.max_memory_allocated() - before_bytes + weights_bytes) / 2**20
