"""Scores of a set of predictions: plain functions of labels and logits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


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


def per_class_accuracy(matrix_CC: NDArray[np.int64]) -> list[float]:
    """Share of each class's clips that are right, in the order of the classes; nan where it has none."""
    totals = matrix_CC.sum(axis=1)
    return [
        float(right / total) if total else math.nan for right, total in zip(matrix_CC.diagonal(), totals, strict=True)
    ]


def summary(logits_NC: NDArray[Any], labels_N: NDArray[Any], inconsistency_N: NDArray[Any]) -> dict[str, float]:
    """The figures that a test prints and logs: top1, top5, the 95 % interval of top1, L_STC, chance.

    Chance is that of guessing uniformly among the model's classes.
    """
    top1 = topk_accuracy(logits_NC, labels_N)
    low, high = wilson_interval(top1, len(labels_N))
    return {
        "top1": top1,
        "top1_low": low,
        "top1_high": high,
        "top5": topk_accuracy(logits_NC, labels_N, 5),
        "inconsistency": float(np.mean(inconsistency_N)),
        "chance": 1 / logits_NC.shape[1],
        "clips": float(len(labels_N)),
    }
