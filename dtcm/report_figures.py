"""Small figures of a report as SVG, each of one thing, so that they can be set side by side or below each other.

Their text stays text: it is sharp at any size, and a test can read it.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dtcm.figures import INK, PASTEL_BLUE, TRAIN_COLOR, VAL_COLOR, _smooth
from dtcm.metrics import wilson_interval

NIGHT = (0x14, 0x16, 0x1F)
"""The ground on which a page shows frames (dtcm.report_style)."""
SIZE = (4.0, 2.7)
"""Inches; at 400 pixels of width the labels are still read."""
STRETCHES = 300
"""A curve of more points is drawn by the least and the largest of so many stretches, or the file would be large."""
STEEP = 30
"""A curve whose largest value is so many times its median is drawn on a logarithmic axis."""
SVG = {"svg.fonttype": "none", "svg.hashsalt": "dtcm"}
"""Text as text, and the same bytes each time."""


def curve(steps: Sequence[int], values: Sequence[float], label: str) -> bytes:
    """A value over the steps of training, and its running mean."""
    figure, axis = _figure()
    known = np.asarray(values, dtype=float)
    axis.plot(*_thinned(steps, known), color=TRAIN_COLOR, alpha=0.3, linewidth=0.8, label="each step")
    axis.plot(*_thinned(steps, _smooth(known.tolist())), color=TRAIN_COLOR, linewidth=1.6, label="running mean")
    if np.nanmin(known) > 0 and np.nanmax(known) > STEEP * np.nanmedian(known):
        axis.set_yscale("log")
    axis.set(xlabel="step", ylabel=label)
    return _svg(figure, axis)


def durations(steps: Sequence[int], step_ms: NDArray[np.float64], wait_ms: NDArray[np.float64]) -> bytes:
    """How long each step took, and what of it was spent waiting for clips, in milliseconds."""
    figure, axis = _figure()
    axis.plot(*_thinned(steps, step_ms), color=TRAIN_COLOR, linewidth=0.9, label="a step")
    axis.plot(*_thinned(steps, wait_ms), color=VAL_COLOR, linewidth=0.9, label="of it waiting for clips")
    # The first steps of a process are slow and would press all others to the ground.
    axis.set(xlabel="step", ylabel="time, ms", ylim=(0, 1.6 * float(np.percentile(step_ms, 98))))
    return _svg(figure, axis)


def validation(epochs: Sequence[int], top1: Sequence[float], best: int, clips: int, chance: float) -> bytes:
    """Top-1 on the validation part over the epochs, in [0, 1], with the epoch that was chosen."""
    figure, axis = _figure()
    low, high = 100 * np.array([wilson_interval(value, clips) for value in top1]).T
    axis.fill_between(epochs, low, high, color=VAL_COLOR, alpha=0.15, linewidth=0, label="95 % interval")
    axis.plot(epochs, [100 * value for value in top1], color=VAL_COLOR, marker="o", markersize=4, label="validation")
    axis.axvline(best, color=INK, linewidth=1, linestyle=":", label=f"chosen: epoch {best}")
    axis.axhline(100 * chance, color=INK, linewidth=0.8, linestyle="--", label=f"chance {chance:.1%}")
    axis.set(xlabel="epoch", ylabel="Top-1, % of clips", ylim=(0, 104))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure, axis)


def bars(groups: Mapping[str, tuple[int, int]], label: str, chance: float) -> bytes:
    """Top-1 of groups, as right clips and clips of each, with 95 % intervals; a bar's label says how many clips."""
    figure, axis = _figure()
    share = np.array([100 * right / clips for right, clips in groups.values()])
    low, high = 100 * np.array([wilson_interval(right / clips, clips) for right, clips in groups.values()]).T
    places = np.arange(len(groups))
    errors = np.maximum(0, [share - low, high - share])
    axis.bar(places, share, 0.7, color=PASTEL_BLUE, yerr=errors, ecolor=INK, error_kw={"linewidth": 1}, capsize=2)
    axis.axhline(100 * chance, color=VAL_COLOR, linewidth=1, linestyle="--", label=f"chance {chance:.1%}")
    names = [f"{name.replace(' to ', chr(10) + 'to ')}\n({clips})" for name, (_, clips) in groups.items()]
    axis.set_xticks(places, names, fontsize=9)
    axis.set(xlabel=label, ylabel="Top-1, % of clips", xlim=(-0.6, max(3, len(groups)) - 0.4), ylim=(0, 104))
    return _svg(figure, axis)


def reliability(bins: Sequence[tuple[float, float, int]]) -> bytes:
    """Accuracy over confidence (dtcm.metrics.reliability); on the line a model is as sure as it is right."""
    figure, axis = _figure()
    sure, right, clips = np.array(bins, dtype=float).T
    axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":", label="as sure as right")
    sizes = 12 + 160 * clips / clips.max()
    axis.scatter(100 * sure, 100 * right, sizes, color=TRAIN_COLOR, alpha=0.7, clip_on=False, label="bin of clips")
    axis.set(xlabel="confidence, %", ylabel="right, % of clips", xlim=(0, 103), ylim=(-4, 104))
    return _svg(figure, axis)


def difficulty(dv: NDArray[np.float64], own: NDArray[np.float64], right: NDArray[np.bool_], dark: float) -> bytes:
    """Each clip by its darkness and the probability of its own class, in [0, 1]; right and wrong ones apart."""
    figure, axis = _figure()
    for chosen, color, label in ((right, TRAIN_COLOR, "right"), (~right, VAL_COLOR, "wrong")):
        axis.scatter(dv[chosen], 100 * own[chosen], s=16, color=color, alpha=0.7, linewidth=0, label=label)
    axis.axvline(dark, color=INK, linewidth=1, linestyle=":", label=f"dark below {dark:g}")
    axis.set(xlabel="darkness Dv (-1 black, 0 normal)", ylabel="probability of its class, %", ylim=(-4, 104))
    return _svg(figure, axis)


def strip(frames_THWC: NDArray[np.uint8], gap_px: int = 2) -> bytes:
    """Frames side by side as a PNG of their own size, with the page's ground between them."""
    width_px = frames_THWC.shape[2]
    apart = np.tile(np.array(NIGHT, np.uint8), (*frames_THWC.shape[:2], width_px + gap_px, 1))
    apart[:, :, :width_px] = frames_THWC
    buffer = io.BytesIO()
    imsave(buffer, np.hstack(list(apart))[:, :-gap_px], format="png")
    return buffer.getvalue()


def _thinned(places: Sequence[int], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A curve of a few hundred points that looks the same: the least and the largest value of each stretch."""
    if len(values) <= 2 * STRETCHES:
        return np.asarray(places, float), values
    stretches = [each for each in np.array_split(values, STRETCHES)]
    centres = [float(np.mean(each)) for each in np.array_split(np.asarray(places), STRETCHES)]
    return np.repeat(centres, 2), np.ravel([(each.min(), each.max()) for each in stretches])


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e8eaf0", linewidth=0.8)
    axis.set_axisbelow(True)
    return figure, axis


def _svg(figure: Figure, axis: Axes) -> bytes:
    """The figure with its legend, above the axes where it hides nothing."""
    names = axis.get_legend_handles_labels()[1]
    figure.legend(
        loc="outside upper left", ncols=len(names) if len(names) < 4 else 2, fontsize=9, frameon=False,
        borderaxespad=0, handlelength=1.4,
        columnspacing=1.2,
    )  # fmt: skip
    buffer = io.BytesIO()
    with mpl.rc_context(SVG):  # ty: ignore[invalid-argument-type]
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
