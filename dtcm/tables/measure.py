"""Time and memory of a row's model: one clip, forward only, on this machine."""

import statistics
import time
from typing import NamedTuple

import torch
from torch import nn

from dtcm.tables.entry import Counted

ROUNDS = 3


class Measured(NamedTuple):
    """One clip forward, beside a reference that was measured in turn with it."""

    seconds: float
    """Median."""
    speed_ratio: float
    """The reference's seconds over these: above 1 is faster."""
    memory_mib: float | None = None
    """Most that was allocated at once, weights included. None on a CPU, where torch does not count it."""
    memory_ratio: float | None = None
    """This memory over the reference's."""


def measure(model: Counted, reference: Counted, device: str, rounds: int = ROUNDS) -> Measured:
    """Measure a model and its reference in turn, so that other load on the machine meets both.

    Weights are random: they change neither time nor memory. Medians are over `rounds`, behind one that warms up.
    Raises BadInput where an extra that a model needs is not installed.
    """
    models = [model] if model == reference else [model, reference]
    built = [(counted.model().to(device), _clip(counted, device)) for counted in models]
    taken = [[_forward(*pair) for pair in built] for _ in range(rounds + 1)][1:]
    found = [
        (statistics.median(seconds for seconds, _ in column), column[-1][1]) for column in zip(*taken, strict=True)
    ]
    (own_s, own_mib), (other_s, other_mib) = found[0], found[-1]
    return Measured(own_s, other_s / own_s, own_mib, own_mib / other_mib if own_mib and other_mib else None)


def _clip(counted: Counted, device: str) -> torch.Tensor:
    return torch.rand(1, 3, counted.frames, counted.size, counted.size, device=device)


@torch.inference_mode()
def _forward(model: nn.Module, clip_BCTHW: torch.Tensor) -> tuple[float, float | None]:
    """Seconds, and MiB on a GPU."""
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
