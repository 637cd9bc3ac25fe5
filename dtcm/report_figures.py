"""Small figures of a report, each of one thing, so that they can be set side by side or below each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dtcm.figures import INK, PASTEL_BLUE, TRAIN_COLOR, VAL_COLOR, _png, _smooth
from dtcm.metrics import wilson_interval

SIZE = (4.4, 2.9)
"""Inches; at 400 pixels of width the labels are still read."""
DPI = 160


def curve(steps: Sequence[int], values: Sequence[float], name: str, unit: str) -> bytes:
    """A value over the steps of training, and its running mean."""
    figure, axis = _figure()
    axis.plot(steps, values, color=TRAIN_COLOR, alpha=0.3, linewidth=0.8, label="each step")
    axis.plot(steps, _smooth(values), color=TRAIN_COLOR, linewidth=1.6, label="running mean")
    axis.set(title=name, xlabel="step", ylabel=unit)
    axis.legend(fontsize=8, frameon=False)
    return _png(figure)


def validation(epochs: Sequence[int], top1: Sequence[float], best: int) -> bytes:
    """Top-1 on the validation part over the epochs, in [0, 1], with the epoch that was chosen."""
    figure, axis = _figure()
    axis.plot(epochs, [100 * value for value in top1], color=VAL_COLOR, marker="o", label="validation")
    axis.axvline(best, color=INK, linewidth=1, linestyle=":", label=f"chosen: epoch {best}")
    axis.set(title="validation Top-1", xlabel="epoch", ylabel="% of clips", ylim=(0, 105))
    axis.legend(fontsize=8, frameon=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def bars(groups: Mapping[str, tuple[int, int]], title: str, ylabel: str, chance: float) -> bytes:
    """Top-1 of groups, as right clips and clips of each, with 95 % intervals; a bar's label says how many clips."""
    figure = Figure(figsize=(max(SIZE[0], 1.5 + 0.55 * len(groups)), 3.4), layout="constrained", dpi=DPI)
    axis = figure.subplots()
    share = np.array([100 * right / clips for right, clips in groups.values()])
    low, high = 100 * np.array([wilson_interval(right / clips, clips) for right, clips in groups.values()]).T
    places = np.arange(len(groups))
    errors = np.maximum(0, [share - low, high - share])
    axis.bar(places, share, color=PASTEL_BLUE, yerr=errors, ecolor=INK, error_kw={"linewidth": 1}, capsize=2)
    axis.axhline(100 * chance, color=VAL_COLOR, linewidth=1, linestyle="--", label=f"chance {chance:.1%}")
    names = [f"{name.replace(' to ', chr(10) + 'to ')}\n({clips})" for name, (_, clips) in groups.items()]
    axis.set_xticks(places, names, rotation=0 if len(names) < 7 else 60, fontsize=8)
    axis.set(title=title, ylabel=ylabel, ylim=(0, 105))
    axis.legend(fontsize=8, frameon=False)
    return _png(figure)


def reliability(bins: Sequence[tuple[float, float, int]], error: float) -> bytes:
    """Accuracy over confidence (dtcm.metrics.reliability); on the line a model is as sure as it is right."""
    figure, axis = _figure()
    sure, right, clips = np.array(bins, dtype=float).T
    axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":", label="as sure as right")
    axis.scatter(100 * sure, 100 * right, s=12 + 160 * clips / clips.max(), color=TRAIN_COLOR, alpha=0.7, label="clips")
    axis.set(title=f"calibration, error {error:.1%}", xlabel="confidence, %", ylabel="right, % of clips")
    axis.set(xlim=(0, 102), ylim=(-4, 104))
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    return _png(figure)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained", dpi=DPI)
    return figure, figure.subplots()
