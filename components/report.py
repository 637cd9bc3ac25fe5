"""The report of a run: what was run on what, how it went, how good it is, where it fails, what it costs.

report/index.html is one file that needs nothing else; beside it lie some of its figures as pictures.
"""

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from components.ingest import subset
from components.runs import Run, manifest_sha256
from components.tester import right_clips, score
from dtcm import config, costs, figures, metrics, report, report_figures
from dtcm.bundle import WEIGHTS, Bundle
from dtcm.config import Experiment
from dtcm.data.plan import centre_rows
from dtcm.data.transforms import load_clip
from dtcm.enhanced_video import enhance
from dtcm.tables import TABLES

HARDEST = 3
"""Clips of which frames are shown."""
PAPER = {"arid-v1": "III", "uavhuman": "IV", "dark48": "V"}
"""The paper's table of a data set, by its format."""
UNITS = {"ar": "cross-entropy, nats", "total": "weighted sum"}

Section = tuple[str, str]


def write_report(run: Run, manifest: pa.Table, predictions: pa.Table, bundle: Bundle) -> None:
    """Write report/ of a run that was trained and tested."""
    folder, records, test = run.folder / "report", run.read_metrics(), score(predictions)
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    confusion = figures.confusion(metrics.confusion(logits, labels), bundle.classes)
    clips = hardest(manifest, predictions, bundle)
    folder.write("curves.png", figures.curves(records))
    folder.write("confusion.png", confusion)
    for number, (_, png) in enumerate(clips, start=1):
        folder.write(f"enhancement_{number}.png", png)
    sections = [
        ("Result", _result(test)),
        ("What was run on what", _origin(run, manifest)),
        ("Beside the paper", _paper(run.experiment, test)),
        ("Training", _training(records)),
        ("By class", _by_class(predictions, test, confusion)),
        ("By darkness, and how sure", _by_darkness(predictions, test)),
        ("Hardest clips", "".join(report.figure(png, caption, wide=True) for caption, png in clips)),
        ("Cost", _cost(run, records, bundle, test)),
        ("Experiment", _experiment(run.experiment)),
    ]
    title = f"DTCM on {run.experiment.data.name}, split {run.experiment.data.split}"
    folder.write("index.html", report.page(title, f"Run {run.name}", sections).encode())


def hardest(manifest: pa.Table, predictions: pa.Table, bundle: Bundle) -> list[tuple[str, bytes]]:
    """The test clips of the largest cross-entropy: a caption, and frames and RGB differences before and after."""
    shares = metrics.probabilities(np.array(predictions["logits"].to_pylist()))
    labels, test = predictions["label"].to_numpy(), subset(manifest, "test")
    own = shares[np.arange(len(labels)), labels]
    shown = []
    for place in np.argsort(own, kind="stable")[:HARDEST].tolist():
        video, predicted = test.slice(place, 1).to_pylist()[0], int(shares[place].argmax())
        row = centre_rows((video["frames"],), bundle.experiment.data)[0]
        dark = load_clip(video["path"], row, bundle.experiment.data)
        caption = (
            f"{video['video_id']}: {video['class_name']} ({own[place]:.0%}), "
            f"predicted {bundle.classes[predicted]} ({shares[place, predicted]:.0%}); Dv {video['dv']:.2f}"
        )
        shown.append((caption, figures.enhancement(dark, enhance(bundle.model, dark), "")))
    return shown


def _result(test: dict[str, float]) -> str:
    interval = f"95 % interval {test['top1_low']:.1%} to {test['top1_high']:.1%}"
    shared = test["clips"] - test.get("leak_free_clips", 0)
    values = {
        "Top-1": (f"{test['top1']:.1%}", f"{interval}; chance {test['chance']:.1%}"),
        "Top-5": (f"{test['top5']:.1%}", f"{test['clips']:.0f} test clips, one each, centre crop"),
        "Calibration error": (f"{test['ece']:.1%}", f"ECE, {metrics.ECE_BINS} bins"),
        "Inconsistency": (f"{test['inconsistency']:.2g}", "L_STC, Eq. 4, mean over clips"),
    }
    if shared and "leak_free_top1" in test:
        note = f"without {shared:.0f} clips that share something with training"
        values["Top-1, leak-free"] = (f"{test['leak_free_top1']:.1%}", note)
    return report.tiles(values)


def _origin(run: Run, manifest: pa.Table) -> str:
    environment = json.loads(run.folder.read("environment.json"))
    data, model = run.experiment.data, run.experiment.model
    counts = Counter(manifest["subset"].to_pylist())
    dirty = {True: ", with changes that no commit holds", None: ", state unknown"}.get(environment["git_dirty"], "")
    rows = [
        ("Data", ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test") if counts[name]) + " videos"),
        ("Clip", f"{data.frames} frames, stride {data.stride}, {data.crop_px}x{data.crop_px} px"),
        ("Model", f"{model.enhancer} (k = {model.k}) before {model.classifier}, {run.experiment.loss.setting}"),
        ("Recipe, seed", f"{run.experiment.recipe}, {run.experiment.seed}"),
        ("Commit", f"{environment['git_commit']}{dirty}"),
        ("Machine", f"{environment['platform']}, {environment['cpus']} cores, {_gpus(environment)}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
        ("Manifest", f"sha256 {manifest_sha256(manifest)}"),
        ("Configuration", f"sha256 {config.sha256(run.experiment)}"),
    ]
    return report.table((), rows, numbers=False)


def _gpus(environment: dict[str, Any]) -> str:
    return ", ".join(environment["gpus"]) or "no GPU"


def _paper(experiment: Experiment, test: dict[str, float]) -> str:
    """The row of the paper that this run repeats, or why there is none."""
    ours = f"{test['top1']:.2%} ({test['top1_low']:.1%} to {test['top1_high']:.1%})"
    number, flat = PAPER.get(experiment.data.format, ""), config.flatten(experiment)
    if not number:
        dtcm = TABLES["III"].entries[-1]
        sentence = "The paper has no figure for these data. For scale, its own model on ARID, which is another task:"
        rows = [(f"Table III, {dtcm.label}", dtcm.printed["top1"], dtcm.printed["top5"])]
        return report.text(sentence) + report.table(("", "Top-1, %", "Top-5, %"), rows)
    same = [
        entry
        for entry in TABLES[number].entries
        if entry.overrides and all(flat.get(name) == value for name, value in entry.overrides.items())
    ]
    rows = [(entry.label, entry.printed.get("top1") or "-", entry.printed.get("top5") or "-") for entry in same]
    mine = ("this run", ours, f"{test['top5']:.2%}")
    caption = TABLES[number].title + ("" if same else "; no row has this model and input")
    return report.table(("", "Top-1, %", "Top-5, %"), [mine, *rows], caption)


def _training(records: list[dict[str, Any]]) -> str:
    steps = [record for record in records if record["kind"] == "train"]
    if not steps:
        return report.text("No step was recorded.")
    names = [name for name in steps[0]["metrics"] if not name.endswith("_s")]
    numbers, pictures = [record["step"] for record in steps], []
    epochs = [record for record in records if record["kind"] == "val" and "top1" in record["metrics"]]
    if epochs:
        top1 = [record["metrics"]["top1"] for record in epochs]
        best = epochs[int(np.argmax(top1))]["epoch"]
        png = report_figures.validation([record["epoch"] for record in epochs], top1, best)
        pictures.append(report.figure(png, "Top-1 on the part held out of training"))
    for name in names:
        values = [record["metrics"].get(name, np.nan) for record in steps]
        png = report_figures.curve(numbers, values, f"loss: {name}", UNITS.get(name, "unweighted"))
        pictures.append(report.figure(png, f"Loss part {name} over the steps of training"))
    return report.figures(pictures)


def _by_class(predictions: pa.Table, test: dict[str, float], confusion: bytes) -> str:
    groups = metrics.group_accuracy(right_clips(predictions), predictions["class_name"].to_pylist())
    rows = []
    for name, (right, clips) in groups.items():
        low, high = metrics.wilson_interval(right / clips, clips)
        rows.append((name, str(clips), f"{right / clips:.1%}", f"{low:.0%} to {high:.0%}"))
    shown = report.table(("class", "clips", "Top-1", "95 % interval"), rows)
    wide = len(groups) > 8
    return report.figures([shown, report.figure(confusion, "Confusions, in clips; a row is a true class", wide)])


def _by_darkness(predictions: pa.Table, test: dict[str, float]) -> str:
    groups = metrics.group_accuracy(right_clips(predictions), metrics.dv_bins(predictions["dv"].to_numpy()))
    order = sorted(groups, key=lambda name: float(re.findall(r"-?[\d.]+", name)[-1]) + name.startswith("above"))
    bars = report_figures.bars(
        {name: groups[name] for name in order}, "Top-1 by darkness", "% of clips", test["chance"]
    )
    logits, labels = np.array(predictions["logits"].to_pylist()), predictions["label"].to_numpy()
    sure = report_figures.reliability(metrics.reliability(logits, labels), test["ece"])
    return report.figures(
        [
            report.figure(bars, "Dv (Eq. 13): -1 is black, 0 a normal exposure; below -0.877 a video is dark (Eq. 14)"),
            report.figure(sure, "A dot is a bin of confidence; the larger, the more clips"),
        ]
    )


def _cost(run: Run, records: list[dict[str, Any]], bundle: Bundle, test: dict[str, float]) -> str:
    data, steps = run.experiment.data, [record for record in records if record["kind"] == "train"]
    counted = costs.count(bundle.model, (1, 3, data.frames, data.crop_px, data.crop_px))
    rows = [
        ("Parameters", f"{counted.params / 1e6:.3f} M"),
        ("Multiply-accumulates of a clip", f"{counted.macs / 1e9:.3f} G"),
        ("Weights", f"{len(run.model.read(WEIGHTS)) / 1e6:.2f} MB"),
    ]
    if steps:
        step_s = [record["metrics"]["step_s"] for record in steps]
        wait_s = [record["metrics"]["wait_s"] for record in steps]
        rows += [
            ("Training", f"{len(steps)} steps, {sum(step_s) / 60:.1f} min in all"),
            ("A step", f"{np.median(step_s) * 1e3:.0f} ms (median)"),
            ("Waiting for clips", f"{sum(wait_s) / max(sum(step_s), 1e-9):.0%} of it"),
        ]
    if "clips_per_s" in test:
        rows.append(("Test, with decoding and start", f"{test['clips_per_s']:.3g} clips/s"))
    return report.table((), rows)


def _experiment(experiment: Experiment) -> str:
    rows = [(name, str(value)) for name, value in config.flatten(experiment).items() if value not in ("", None, ())]
    opened = report.table((), rows, "config.json as it was run", numbers=False)
    return f"<details><summary>All {len(rows)} fields that are set</summary>{opened}</details>"
