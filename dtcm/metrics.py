"""Scores of a set of predictions, and of two models on the same clips: plain functions of labels and logits."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""
ECE_BINS = 15
"""Bins of confidence for the calibration error, as in Guo et al. (ICML 2017)."""
DV_EDGES = (-0.95, -0.877, -0.75, -0.5)
"""Where bins of darkness meet (Dv, Eq. 13). They are fixed, so that models and data sets share them; -0.877 is -τ."""


def topk_accuracy(logits_NC: NDArray[Any], labels_N: NDArray[Any], k: int = 1) -> float:
    """Share of clips whose label is among the k largest logits, in [0, 1].

    k larger than the number of classes counts as that number. Of equal logits the lower class wins.
    """
    k = min(k, logits_NC.shape[1])
    best = np.argsort(-logits_NC, axis=1, kind="stable")[:, :k]
    return float((best == labels_N[:, None]).any(axis=1).mean())


def wilson_interval(accuracy: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion over n independent clips (Wilson, 1927).

    It stays within [0, 1] and is honest for the small n of a held-out group.
    """
    if n == 0:
        return 0.0, 1.0
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion(logits_NC: NDArray[Any], labels_N: NDArray[Any]) -> NDArray[np.int64]:
    """Counts [C, C]: row is the true class, column the predicted one."""
    classes = logits_NC.shape[1]
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels_N, logits_NC.argmax(axis=1)), 1)
    return matrix


def probabilities(logits_NC: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax of the logits, [N, C]."""
    exponentials = np.exp(np.asarray(logits_NC, np.float64) - logits_NC.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def reliability(
    logits_NC: NDArray[Any], labels_N: NDArray[Any], bins: int = ECE_BINS
) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and clips of each bin of confidence, (i/bins, (i+1)/bins], that holds any."""
    found = probabilities(logits_NC)
    confidence, right = found.max(axis=1), found.argmax(axis=1) == labels_N
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    members = [places == place for place in range(bins)]
    return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members if m.any()]


def calibration_error(logits_NC: NDArray[Any], labels_N: NDArray[Any], bins: int = ECE_BINS) -> float:
    """Expected calibration error, in [0, 1]: |accuracy - confidence| of each bin, weighted by its clips.

    Guo et al., "On calibration of modern neural networks", ICML 2017, Eq. 3.
    """
    total = len(labels_N)
    return sum(clips / total * abs(right - sure) for sure, right, clips in reliability(logits_NC, labels_N, bins))


def dv_bins(dv_N: NDArray[Any]) -> list[str]:
    """The bin of darkness of each clip, such as "-0.95 to -0.877"; an edge belongs to the brighter bin."""
    edges = ("-1", *(f"{edge:g}" for edge in DV_EDGES))
    names = [*map(" to ".join, pairwise(edges)), f"above {edges[-1]}"]
    return [names[place] for place in np.searchsorted(DV_EDGES, dv_N, side="right")]


def group_accuracy(right_N: NDArray[np.bool_], groups_N: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Right clips and clips of each group, such as a class or a bin of darkness, sorted by its name."""
    names, places = np.unique(np.asarray(groups_N), return_inverse=True)
    right, clips = np.bincount(places, weights=right_N), np.bincount(places)
    return {str(name): (int(r), int(n)) for name, r, n in zip(names, right, clips, strict=True)}


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p value that two models are equally good (McNemar, 1947, by the binomial distribution).

    Args:
        gained: clips that only the new model has right.
        lost: clips that only the old one has right.
    """
    n = gained + lost
    tail = sum(math.comb(n, i) for i in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**n))


def paired_interval(gained: int, lost: int, clips: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of the difference of two accuracies on the same clips (Tango, Stat. Med. 17:891, 1998).

    It holds for few clips too: two models that are never apart on n clips may still differ by z²/(n + z²).
    """

    def score(delta: float) -> float:
        b = -gained - lost + (2 * clips - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 8 * clips * c, 0.0)) - b) / (4 * clips)
        variance = clips * (2 * share + delta * (1 - delta))
        return (gained - lost - clips * delta) / math.sqrt(variance) if variance > 0 else math.inf

    middle = (gained - lost) / clips
    return _crossing(score, z, -1.0, middle), _crossing(score, -z, middle, 1.0)


def _crossing(falling: Callable[[float], float], value: float, low: float, high: float) -> float:
    """Where a falling function takes a value, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return (low + high) / 2


def summary(logits_NC: NDArray[Any], labels_N: NDArray[Any], inconsistency_N: NDArray[Any]) -> dict[str, float]:
    """The figures that a test prints and logs: top1, top5, the 95 % interval of top1, ECE, L_STC, chance.

    Chance is that of guessing uniformly among the model's classes.
    """
    top1 = topk_accuracy(logits_NC, labels_N)
    low, high = wilson_interval(top1, len(labels_N))
    return {
        "top1": top1,
        "top1_low": low,
        "top1_high": high,
        "top5": topk_accuracy(logits_NC, labels_N, 5),
        "ece": calibration_error(logits_NC, labels_N),
        "inconsistency": float(np.mean(inconsistency_N)),
        "chance": 1 / logits_NC.shape[1],
        "clips": float(len(labels_N)),
    }
