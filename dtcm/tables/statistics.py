"""How sure an accuracy is, and a difference of two: over the test clips and over the seeds of training."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtcm.metrics import wilson_interval

T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1 to 9 degrees of freedom; more than ten seeds use the last, a wider one."""
RESAMPLES = 5000


class Accuracy(NamedTuple):
    """A share of right clips, in [0, 1]."""

    mean: float
    """Over the seeds."""
    low: float
    high: float
    """Wilson's 95 % interval over the clips. The same clips judged with another seed are no new clips."""
    seeds: float | None
    """Half of Student's 95 % interval of the mean over the seeds; None of a single one."""


class Difference(NamedTuple):
    """A difference of two accuracies on the same clips, in [-1, 1], with its 95 % interval."""

    mean: float
    low: float
    high: float


def accuracy(per_seed: Sequence[float], clips: int) -> Accuracy:
    """Mean accuracy of trainings that differ in their seed, all tested on the same clips."""
    mean, n = statistics.fmean(per_seed), len(per_seed)
    over_seeds = None
    if n > 1:
        over_seeds = T975[min(n - 1, len(T975)) - 1] * statistics.stdev(per_seed) / math.sqrt(n)
    return Accuracy(mean, *wilson_interval(mean, clips), over_seeds)


def paired_difference(right_SN: NDArray[Any], reference_SN: NDArray[Any]) -> Difference:
    """Difference of two models that were right or wrong on the same N clips, each with S seeds.

    The interval is the percentile bootstrap over clips (Efron and Tibshirani, 1993), after the mean over seeds.
    """
    gain_N = right_SN.mean(axis=0) - reference_SN.mean(axis=0)
    clips = len(gain_N)
    drawn_RN = np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), size=RESAMPLES)
    low, high = np.percentile(drawn_RN @ gain_N / clips, (2.5, 97.5))
    return Difference(float(gain_N.mean()), float(low), float(high))
