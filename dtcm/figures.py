"""Figures as PNG bytes: what the enhancer does to a clip (Figs. 1, 6-8), curves, and confusions."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtcm.darkness import TAU

INK = "#2b2d42"
VAL_COLOR, TRAIN_COLOR = "#c8553d", "#3d6fc8"
PASTEL_BLUE, MUTED_BLUE = "#a9cbe8", "#4a7299"


def strips(
    dark_THWC: NDArray[np.uint8], enhanced_THWC: NDArray[np.uint8], columns: int = 6
) -> tuple[list[int], list[tuple[str, NDArray[np.uint8]]]]:
    """Frames of a clip before and after enhancement, and their RGB differences (Figs. 1 and 6-8).

    Args:
        dark_THWC: uint8 RGB frames, T >= 2.
        enhanced_THWC: the same frames enhanced.
        columns: frames shown, evenly spaced.

    Returns:
        The frames' places in the clip, and rows: a name, and what it shows of these frames. Dark frames are shown as
        they are and times one factor, and differences times another, since they would be black otherwise.
    """
    shown = np.linspace(0, len(dark_THWC) - 2, min(columns, len(dark_THWC) - 1)).astype(int)
    rows = [("dark", dark_THWC[shown]), _scaled("dark", dark_THWC[shown]), ("enhanced", enhanced_THWC[shown])]
    for name, clip in (("dark", dark_THWC), ("enhanced", enhanced_THWC)):
        rows.append(_scaled(f"{name}: RGB difference", np.abs(np.diff(clip.astype(np.int16), axis=0))[shown]))
    return shown.tolist(), rows


def _scaled(name: str, values: NDArray[Any]) -> tuple[str, NDArray[np.uint8]]:
    """Values in [0, 255] times the factor that makes nearly the largest white, and the name with that factor."""
    gain = 255 / max(1.0, float(np.percentile(values, 99.8)))
    return f"{name} × {gain:.1f}", np.minimum(values * gain, 255).astype(np.uint8)


def enhancement(dark_THWC: NDArray[np.uint8], enhanced_THWC: NDArray[np.uint8], title: str, columns: int = 6) -> bytes:
    """The rows of `strips` as a picture, with a title such as the clip's name and what was predicted."""
    shown, rows = strips(dark_THWC, enhanced_THWC, columns)
    figure = Figure(figsize=(1.7 * len(shown) + 1.2, 1.75 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    for row, (name, frames) in zip(axes, rows, strict=True):
        for axis, frame in zip(row, frames, strict=True):
            axis.imshow(frame)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name.replace(": RGB ", ": RGB\n"), color=INK)
    for axis, index in zip(axes[0], shown, strict=True):
        axis.set_title(f"frame {index}", fontsize=9, color=INK)
    figure.suptitle(title, color=INK)
    return _png(figure)


def curves(records: Sequence[dict[str, Any]]) -> bytes:
    """Loss parts over steps, and accuracy on the validation part over epochs, from the lines of metrics.jsonl."""
    steps = [record for record in records if record["kind"] == "train"]
    epochs = [record for record in records if record["kind"] == "val" and record["metrics"]]
    names = [name for name in steps[0]["metrics"] if not name.endswith("_s")]
    figure = Figure(figsize=(13, 2.3 * -(-(len(names) + 1) // 4)), layout="constrained")
    axes = figure.subplots(-(-(len(names) + 1) // 4), 4, squeeze=False).flat
    for name in names:
        values = [record["metrics"][name] for record in steps]
        axis = next(axes)
        axis.plot([record["step"] for record in steps], values, color=TRAIN_COLOR, alpha=0.25, linewidth=0.8)
        axis.plot([record["step"] for record in steps], _smooth(values), color=TRAIN_COLOR, linewidth=1.5)
        axis.set(title=f"loss: {name}", xlabel="step")
    axis = next(axes)
    axis.plot([r["epoch"] for r in epochs], [100 * r["metrics"]["top1"] for r in epochs], color=VAL_COLOR, marker="o")
    axis.set(title="validation Top-1", xlabel="epoch", ylabel="%", ylim=(0, 100))
    for rest in axes:
        rest.set_axis_off()
    return _png(figure)


def confusion(matrix_CC: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """The confusion matrix in clips; a row is a true class, shaded by its share."""
    shares = matrix_CC / np.maximum(matrix_CC.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.36 * len(classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained", dpi=150)
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.6, aspect=30, pad=0.02, label="share of the true class's clips")
    ticks = range(len(classes))
    axis.set_xticks(ticks, classes, rotation=60, ha="right")
    axis.set_yticks(ticks, classes)
    axis.set(xlabel="predicted", ylabel="true", title="clips of the test part")
    for (true, predicted), count in np.ndenumerate(matrix_CC):
        if count:
            color = "white" if shares[true, predicted] > 0.5 else INK
            axis.text(predicted, true, str(count), ha="center", va="center", color=color)
    return _png(figure)


def darkness_histogram(dv: NDArray[np.float64], dv_released: NDArray[np.float64], tau: float = TAU) -> bytes:
    """How many videos are how dark, by both rules of sampling, with the limit -τ (Eq. 13-14)."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axis = figure.subplots()
    edges = np.arange(-1, max(1.0, float(dv.max()), float(dv_released.max())) + 0.05, 0.05).tolist()
    axis.hist(dv, edges, color=TRAIN_COLOR, alpha=0.6, label="paper: a random frame of each segment")
    axis.hist(dv_released, edges, color=INK, histtype="step", label="released: the middle frame of each segment")
    axis.axvline(-tau, color=VAL_COLOR, linewidth=1.5, label=f"dark below -τ = -{tau:g}")
    axis.set(xlabel="Dv, mean luma relative to 112 (-1 is black, 0 normally exposed)", ylabel="videos")
    axis.set_title(f"Darkness of {len(dv)} videos", color=INK)
    axis.legend(fontsize=8, frameon=False)
    return _png(figure)


def class_bars(counts: Mapping[str, tuple[int, int]], title: str) -> bytes:
    """Training and test clips of each class, one above the other (Fig. 5)."""
    figure = Figure(figsize=(2 + 0.24 * len(counts), 4.2), layout="constrained")
    axis = figure.subplots()
    train, test = np.array(list(counts.values())).T
    axis.bar(range(len(counts)), train, color=PASTEL_BLUE, label=f"train ({train.sum()})")
    axis.bar(range(len(counts)), test, bottom=train, color=MUTED_BLUE, label=f"test ({test.sum()})")
    axis.set_xticks(range(len(counts)), list(counts), rotation=90, fontsize=8)
    axis.set(ylabel="clips", xlim=(-0.7, len(counts) - 0.3))
    axis.set_title(title, color=INK)
    axis.legend(fontsize=8, frameon=False)
    return _png(figure)


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Mean over a window of about a thirtieth of the curve."""
    window = max(1, len(values) // 30)
    padded = np.pad(np.asarray(values, dtype=np.float64), (window - 1, 0), mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def factor(
    name: str,
    values: Sequence[float],
    shares_N3: NDArray[np.float64],
    printed: Sequence[float],
    printed_name: str,
    operations: Sequence[float] | None = None,
    printed_operations: Sequence[float] = (),
) -> bytes:
    """Accuracy against one field of the experiment, ours and the paper's side by side (Tables VII to IX).

    Args:
        name: of the field. Its axis is logarithmic where the values at least double.
        values: of the field, ascending.
        shares_N3: accuracy in [0, 1] with the ends of its interval.
        printed: the paper's figures for the same values, in %; empty if there are none.
        printed_name: what these are.
        operations: of the whole model, in 10^9, to be drawn below.
        printed_operations: those that the paper prints, of the enhancer alone.
    """
    columns, rows = 2 if len(printed) else 1, 1 if operations is None else 2
    figure = Figure(figsize=(4.6 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    mean, low, high = 100 * shares_N3.T
    axes[0, 0].errorbar(values, mean, (mean - low, high - mean), color=VAL_COLOR, marker="o", capsize=3)
    axes[0, 0].set(title="ours", ylabel="validation Top-1, %", ylim=(0, 100))
    if len(printed):
        axes[0, 1].plot(values, printed, color=INK, marker="s")
        axes[0, 1].set(title="the paper, on ARID", ylabel=printed_name)
    if operations is not None:
        axes[1, 0].plot(values, operations, color=TRAIN_COLOR, marker="o")
        axes[1, 0].set(ylabel="operations of the whole model, G", ylim=(0, None))
        if len(printed_operations):
            axes[1, -1].plot(values, printed_operations, color=INK, marker="s")
            axes[1, -1].set(ylabel="operations of the enhancer, G", ylim=(0, None))
        elif columns == 2:
            axes[1, 1].set_axis_off()
    ratios = np.divide(values[1:], values[:-1]) if values[0] > 0 else np.ones(1)
    for axis in axes.flat:
        axis.set_xlabel(name)
        if (ratios >= 2).all():
            axis.set_xscale("log")
            axis.minorticks_off()
        axis.set_xticks(values, [f"{value:g}" for value in values])
    return _png(figure)


def pareto(panels: Mapping[str, Sequence[tuple[float, float, bool]]], better: Mapping[str, str]) -> bytes:
    """Accuracy against what it costs: each point, and the front of those that no other beats in both.

    Args:
        panels: by the name of the cost, its points: cost, accuracy in [0, 1], whether it is on the front.
        better: by the same names, "lower" or "higher".
    """
    figure = Figure(figsize=(4.4 * len(panels), 3.6), layout="constrained")
    for axis, (name, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        front = sorted((cost, 100 * share) for cost, share, best in points if best)
        rest = [(cost, 100 * share) for cost, share, best in points if not best]
        axis.plot(*zip(*front, strict=True), color=VAL_COLOR, marker="o", label="front")
        if rest:
            axis.scatter(*zip(*rest, strict=True), color=PASTEL_BLUE, label="beaten in both")
        axis.set(xlabel=f"{name} ({better[name]} is better)", ylabel="validation Top-1, %")
        axis.legend(fontsize=8, frameon=False)
    return _png(figure)
