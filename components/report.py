"""The report of a run: what was run on what, how it went, how good it is, where it fails, what it costs.

report/index.html is one file that needs nothing else; beside it lie some of its figures as pictures.
"""

import json
import shlex
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from components import report_results
from components.runs import Run, manifest_sha256
from components.settings import redacted
from components.tester import score
from dtcm import config, costs, figures, metrics, report, report_figures
from dtcm.bundle import WEIGHTS, Bundle
from dtcm.config import Experiment, LossConfig
from dtcm.tables import TABLES

PAPER = {"arid-v1": "III", "uavhuman": "IV", "dark48": "V"}
"""The paper's table of a data set, by its format."""
PARTS = {
    "total": ("Total, L_total (Eq. 7)", "L_total, weighted sum"),
    "ar": ("Action recognition", "L_AR, nats"),
    "stc": ("Spatio-temporal consistency (Eq. 4)", "L_STC, of values in [0, 1]"),
    "sc": ("Consistency: spatial part (Eq. 1)", "L_SC, of values in [0, 1]"),
    "tc": ("Consistency: temporal part (Eq. 3)", "L_TC, of values in [0, 1]"),
    "dark": ("Dark enhancement (Eq. 5)", "L_Dark, weighted sum"),
    "exp": ("Dark enhancement: exposure", "L_exp, of values in [0, 1]"),
    "col": ("Dark enhancement: colour constancy", "L_col, of values in [0, 1]"),
    "tv": ("Dark enhancement: smooth curves", "L_tvA, of curves in [-1, 1]"),
}
"""Title of each part of the loss in the order of the report, and its axis."""
HIDDEN = ("data.root", "data.dataset", "data.format", "data.lists", "data.split", "recipe", "seed")
"""Fields that say what the data are; they are told elsewhere."""


def write_report(run: Run, format: str, manifest: pa.Table, predictions: pa.Table, bundle: Bundle) -> None:
    """Write report/ of a run that was trained and tested on data of a format, which is never "auto"."""
    folder, records, test = run.folder / "report", run.read_metrics(), score(predictions)
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    confusion = figures.confusion(metrics.confusion(logits, labels), bundle.classes)
    clips, pictures = report_results.hardest(manifest, predictions, bundle)
    folder.write("curves.png", figures.curves(records))
    folder.write("confusion.png", confusion)
    for number, png in enumerate(pictures, start=1):
        folder.write(f"enhancement_{number}.png", png)
    steps = [record for record in records if record["kind"] == "train"]
    sections = [
        ("Result", report_results.result(test)),
        ("Beside the paper", _paper(run.experiment, format, test)),
        ("By class", report_results.by_class(predictions, bundle.classes, confusion)),
        ("By darkness", report_results.by_darkness(predictions, test)),
        ("Hardest clips", clips),
        ("Training", _training(run.experiment, records, steps, test["chance"])),
        ("Cost", _cost(run, steps, bundle, test)),
        ("What was run on what", _origin(run, manifest) + _experiment(run.experiment)),
    ]
    title = f"DTCM on {run.experiment.data.name}, split {run.experiment.data.split}"
    folder.write("index.html", report.page(title, _subtitle(run, steps), sections).encode())


def _subtitle(run: Run, steps: list[dict[str, Any]]) -> str:
    model, parts = run.experiment.model, [f"Run {run.name}"]
    if steps:
        begin = datetime.fromtimestamp(steps[0]["time_s"], timezone.utc)
        parts += [f"begun {begin:%Y-%m-%d %H:%M} UTC", f"{len(steps)} steps"]
    return " · ".join([*parts, f"{model.enhancer} (k = {model.k}) before {model.classifier}"])


def _paper(experiment: Experiment, format: str, test: dict[str, float]) -> str:
    """The row of the paper that this run repeats, or why there is none."""
    interval = f"{100 * test['top1_low']:.1f} to {100 * test['top1_high']:.1f}"
    mine = ("this run", f"{100 * test['top1']:.2f}", interval, f"{100 * test['top5']:.2f}")
    head, number = ("", "Top-1, %", "95 % interval", "Top-5, %"), PAPER.get(format, "")
    if not number:
        dtcm = TABLES["III"].entries[-1]
        sentence = (
            f"As far as their format, {format}, tells, the paper has no figure for these data. "
            "For scale, its own model on ARID v1.0:"
        )
        row = (f"Table III, {dtcm.label}", dtcm.printed["top1"], "not printed", dtcm.printed["top5"])
        return report.text(sentence) + report.table(head, [mine, row])
    flat = config.flatten(experiment)
    same = [
        entry
        for entry in TABLES[number].entries
        if entry.overrides and all(flat.get(name) == value for name, value in entry.overrides.items())
    ]
    rows = [
        (entry.label, entry.printed.get("top1") or "-", "not printed", entry.printed.get("top5") or "-")
        for entry in same
    ]
    return report.table(
        head, [mine, *rows], TABLES[number].title + ("" if same else "; no row has this model and input")
    )


def _training(experiment: Experiment, records: list[dict[str, Any]], steps: list[dict[str, Any]], chance: float) -> str:
    if not steps:
        return report.text("No step was recorded.")
    pictures, found = [], {name for record in steps for name in record["metrics"] if not name.endswith("_s")}
    epochs = [record for record in records if record["kind"] == "val" and "top1" in record["metrics"]]
    if epochs:
        top1, clips = [record["metrics"]["top1"] for record in epochs], int(epochs[0]["metrics"]["clips"])
        best = max(epochs, key=lambda record: (record["metrics"]["top1"], -record["metrics"]["cross_entropy"]))["epoch"]
        svg = report_figures.validation([record["epoch"] for record in epochs], top1, best, clips, chance)
        pictures.append(
            report.figure(svg, "Validation Top-1", f"{clips} clips held out of training; they choose the epoch.")
        )
    weights = _weights(experiment.loss)
    for name in [*(name for name in PARTS if name in found), *sorted(found - set(PARTS))]:
        values = [(record["step"], record["metrics"][name]) for record in steps if name in record["metrics"]]
        title, axis = PARTS.get(name, (name, f"{name}, unweighted"))
        note = f"Weight in the total: {weights[name]:g}." if name in weights else ""
        numbers, series = zip(*values, strict=True)
        pictures.append(report.figure(report_figures.curve(numbers, series, axis), title, note))
    return report.figures(pictures)


def _weights(loss: LossConfig) -> dict[str, float]:
    """What each part is multiplied with in the total of one-stage training (Eq. 5 and 7)."""
    if loss.setting != "one-stage":
        return {}
    return {
        "stc": loss.alpha * loss.w_stc, "dark": loss.alpha, "exp": loss.alpha, "col": loss.alpha * loss.w_col,
        "tv": loss.alpha * loss.w_tv,
    }  # fmt: skip


def _cost(run: Run, steps: list[dict[str, Any]], bundle: Bundle, test: dict[str, float]) -> str:
    data = run.experiment.data
    counted = costs.count(bundle.model, (1, 3, data.frames, data.crop_px, data.crop_px))
    rows = [
        ("Parameters", f"{counted.params / 1e6:.3f} M"),
        ("Multiply-accumulates of a clip", f"{counted.macs / 1e9:.3f} G"),
        ("Weights", f"{len(run.model.read(WEIGHTS)) / 1e6:.2f} MB"),
    ]
    if "clips_per_s" in test:
        rows.append(("Test, with decoding and start", f"{test['clips_per_s']:.3g} clips/s"))
    if not steps:
        return report.table((), rows)
    step_ms, wait_ms = (np.array([1e3 * record["metrics"][name] for record in steps]) for name in ("step_s", "wait_s"))
    rows += [
        ("Training", f"{len(steps)} steps, {step_ms.sum() / 60e3:.1f} min in all"),
        ("A step", f"{np.median(step_ms):.0f} ms (median)"),
        ("Waiting for clips", f"{wait_ms.sum() / max(step_ms.sum(), 1e-9):.0%} of it"),
    ]
    svg = report_figures.durations([record["step"] for record in steps], step_ms, wait_ms)
    return report.figures(
        [report.table((), rows), report.figure(svg, "Time of a step", "What starts up may go beyond the axis.")]
    )


def _origin(run: Run, manifest: pa.Table) -> str:
    environment = json.loads(run.folder.read("environment.json"))
    data, loss = run.experiment.data, run.experiment.loss
    counts = Counter(manifest["subset"].to_pylist())
    dirty = {True: ", with changes that no commit holds", None: ", state unknown"}.get(environment["git_dirty"], "")
    rows = [
        ("Data", ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test") if counts[name]) + " videos"),
        ("Clip", f"{data.frames} frames, stride {data.stride}, {data.crop_px}x{data.crop_px} px"),
        ("Training", f"{loss.setting}, recipe {run.experiment.recipe}, seed {run.experiment.seed}"),
        ("Not as the defaults", _changed(run.experiment)),
        ("Run folder", report.code(redacted(run.folder.uri))),
        ("Command", report.code(shlex.join(environment["command"]))),
        ("Commit", report.code(f"{environment['git_commit']}{dirty}")),
        ("Machine", f"{environment['platform']}, {environment['cpus']} cores, {_gpus(environment)}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
        ("Manifest", report.code(f"sha256 {manifest_sha256(manifest)}")),
        ("Configuration", report.code(f"sha256 {config.sha256(run.experiment)}")),
    ]
    return report.table((), rows, numbers=False)


def _gpus(environment: dict[str, Any]) -> str:
    return ", ".join(environment["gpus"]) or "no GPU"


def _changed(experiment: Experiment) -> str:
    """The fields that differ from the defaults, which are the paper's."""
    defaults = config.flatten(Experiment())
    flat = {name: value for name, value in config.flatten(experiment).items() if name not in HIDDEN}
    return ", ".join(f"{name} {value}" for name, value in flat.items() if value != defaults.get(name)) or "none"


def _experiment(experiment: Experiment) -> str:
    rows = [(name, str(value)) for name, value in config.flatten(experiment).items() if value not in ("", None, ())]
    opened = report.table((), rows, "config.json as it was run", numbers=False)
    return report.folded(f"All {len(rows)} fields that are set", opened)
