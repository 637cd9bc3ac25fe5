"""What a sweep found: tables beside the paper's, Pareto fronts, figures, what is missing, and the best experiment.

Everything is computed from the ledger. The validation part decides; the test part is only told.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from components.cluster import device_here
from components.ledger import Event, Ledger
from components.settings import Settings
from components.storage import Folder
from components.sweep_plan import Sweep, factor_points, short, trial
from components.sweep_state import best_trials, sweep_folder, wanted
from components.sweep_tracker import SweepTracker
from dtcm import config, figures
from dtcm.config import Experiment
from dtcm.tables import Counted, costs
from dtcm.tables.measure import measure
from dtcm.tables.statistics import Accuracy, accuracy

BETTER = {"operations, G": "lower", "clips/s": "higher", "inconsistency": "lower"}
"""Second goals beside accuracy, and which way each is better."""
LEGEND = (
    "Accuracies are Top-1 in %, the mean over the seeds with Wilson's 95 % interval over the clips and, after ±, half "
    "of Student's over the seeds. Validation decides; the test part chooses nothing. Inconsistency is Eq. 4's on the "
    "validation part; operations are of the whole model in the paper's convention; clips/s is one clip at a time, "
    "forward, on the {device} of the machine that wrote this. ● is on the front of accuracy against that figure."
)


class Point(NamedTuple):
    """A point of a sweep with the trials that finished."""

    values: dict[str, Any]
    trials: list[Event]
    val: Accuracy
    test: Accuracy
    goals: dict[str, float | None]
    """By the names of BETTER."""


def report(sweep: Sweep, settings: Settings) -> str:
    """Write report/, best.json and the MLflow run of a sweep; returns the report's text.

    report/ has sweep.md, a figure for each field of `factors` and pareto.png.
    """
    settings = replace(settings, storage=settings.storage_uri, tracking_uri=settings.mlflow_uri)
    folder, ledger = sweep_folder(sweep, settings), Ledger(sweep_folder(sweep, settings))
    points = _points(sweep, ledger, settings)
    front = {name: _front(points, name) for name in BETTER}
    parts = [f"# Sweep {sweep.name} of {sweep.base.data.name}, split {sweep.base.data.split}", _missing(sweep, ledger)]
    best = best_trials(sweep, ledger)
    if best:
        experiment = trial(sweep, best[0]["point"], sweep.seeds[0]).experiment
        folder.write("best.json", config.to_json(experiment).encode())
        parts.append(f"Best by validation: {_label(best[0]['point'])}. best.json has it, for `--from-config`.")
        parts.append(LEGEND.format(device=device_here(settings)))
        parts += [_factor(sweep, name, points, front) for name in sweep.fields if sweep.method == "factors"]
        parts.append(_all(points, front))
        _draw(sweep, points, front, settings)
    text = "\n\n".join(filter(None, parts)) + "\n"
    (folder / "report").write("sweep.md", text.encode())
    tracker = SweepTracker(folder, sweep.name, sweep.base.data.name, settings.mlflow_uri)
    for event in ledger.trials().values():  # what could not be said while MLflow was away
        if event.get("run"):
            tracker.adopt(Folder(event["run"]), {"stopped": "KILLED", "failed": "FAILED"}.get(event["event"], ""))
    top = max(best, key=lambda event: event["val"]["top1"], default={})
    means = {
        f"best/val_{name}": statistics.fmean(e["val"][name] for e in best) for name in ("top1", "inconsistency") if best
    }
    tracker.close(means, top.get("test", {}).get("model_version", ""))
    return text


def _points(sweep: Sweep, ledger: Ledger, settings: Settings) -> list[Point]:
    """Points with a finished trial, in the order of the sweep."""
    done: dict[str, list[Event]] = {}
    for event in ledger.trials().values():
        if event["event"] == "finished":
            done.setdefault(json.dumps(event["point"], sort_keys=True), []).append(event)
    order = [json.dumps(point, sort_keys=True) for point in factor_points(sweep)] if sweep.method == "factors" else []
    groups = [done[key] for key in [key for key in order if key in done] or done]
    cost = _costs([trial(sweep, group[0]["point"], 0).experiment for group in groups], groups, settings)
    return [_point(group, found) for group, found in zip(groups, cost, strict=True)]


def _point(group: list[Event], cost: tuple[float | None, float]) -> Point:
    val, test = (
        accuracy([event[part]["top1"] for event in group], int(group[0][part]["clips"])) for part in ("val", "test")
    )
    inconsistency = statistics.fmean(event["val"]["inconsistency"] for event in group)
    return Point(group[0]["point"], group, val, test, dict(zip(BETTER, (*cost, inconsistency), strict=True)))


def _costs(
    experiments: Sequence[Experiment], groups: Sequence[list[Event]], settings: Settings
) -> list[tuple[float | None, float]]:
    """Operations in 10^9 and clips a second of each experiment's model; equal models are measured once."""
    counted = []
    for experiment, group in zip(experiments, groups, strict=True):
        data, model, classes = experiment.data, experiment.model, round(1 / group[0]["test"]["chance"])
        counted.append(Counted(model.classifier, data.frames, data.crop_px, classes, model.enhancer, model.k))
    found: dict[Counted, tuple[float | None, float]] = {}
    for model in counted:
        if model not in found:
            operations = costs(model)
            seconds = measure(model, model, device_here(settings)).seconds
            found[model] = (operations and operations.paper_ops / 1e9, 1 / seconds)
    return [found[model] for model in counted]


def _front(points: Sequence[Point], goal: str) -> list[bool]:
    """Whether each point is beaten by no other, in accuracy and in a second goal."""
    sign = -1 if BETTER[goal] == "lower" else 1
    both = [(point.val.mean, sign * value) if (value := point.goals[goal]) is not None else None for point in points]
    return [
        mine is not None and not any(other and other != mine and min(np.subtract(other, mine)) >= 0 for other in both)
        for mine in both
    ]


def _missing(sweep: Sweep, ledger: Ledger) -> str:
    """How many trials finished, and which did not and why."""
    known, all_trials = ledger.trials(), wanted(sweep, ledger)
    lines, finished, stopped = [], 0, 0
    for one in all_trials:
        event = known.get(one.name, {"event": "missing"})
        state, who = event["event"], f"{_label(one.point)}, seed {one.experiment.seed}"
        finished, stopped = finished + (state == "finished"), stopped + (state == "stopped")
        why = {"missing": "not begun", "started": "cut off; the same command goes on with it"}
        why |= {
            "failed": f"failed: {event.get('reason')}",
            "stopped": f"stopped by ASHA after epoch {event.get('epochs')}",
        }
        if state in why:
            lines.append(f"- {who}: {why[state]}")
    proposed = sum(one.experiment.seed == sweep.seeds[0] for one in all_trials)
    if sweep.method == "search" and proposed < sweep.points:
        lines.append(f"- {sweep.points - proposed} of {sweep.points} points not proposed yet")
    head = f"{finished} of {len(all_trials)} trials finished" + (f", {stopped} stopped" if stopped else "") + "."
    return "\n".join([head, *([""] if lines else []), *lines])


def _factor(sweep: Sweep, field: str, points: Sequence[Point], front: Mapping[str, list[bool]]) -> str:
    """A table of the paper: the values of one field, with the others at the centre."""
    printed = sweep.printed.get(field)
    rows = []
    for number, value in enumerate(sweep.fields[field]):
        cells = {field: short(value)}
        if found := _varied(sweep, field, value, points):
            cells |= _cells(found, points, front)
        if printed and number < len(printed.values):
            cells[f"the paper, {printed.figure}"] = (
                f"{printed.values[number]:+g}" if "Δ" in printed.figure else f"{printed.values[number]:g}"
            )
        rows.append(cells)
    return f"## {printed.title if printed else field}\n\n{_table(rows)}"


def _all(points: Sequence[Point], front: Mapping[str, list[bool]]) -> str:
    """Every point on a front, and every other one."""
    ordered = sorted(points, key=lambda point: -point.val.mean)
    rows = [{"point": _label(point.values), **_cells(point, points, front)} for point in ordered]
    return f"## All points and the Pareto fronts\n\n{_table(rows)}"


def _cells(point: Point, points: Sequence[Point], front: Mapping[str, list[bool]]) -> dict[str, str]:
    place = next(i for i, other in enumerate(points) if other is point)
    goals = {
        name: ("-" if value is None else f"{value:.3g}") + (" ●" if front[name][place] else "")
        for name, value in point.goals.items()
    }
    return {"seeds": str(len(point.trials)), "validation": _share(point.val), "test": _share(point.test), **goals}


def _varied(sweep: Sweep, field: str, value: Any, points: Sequence[Point]) -> Point | None:
    centre = factor_points(sweep)[0]
    return next((point for point in points if point.values == {**centre, field: value}), None)


def _draw(sweep: Sweep, points: Sequence[Point], front: Mapping[str, list[bool]], settings: Settings) -> None:
    report = sweep_folder(sweep, settings) / "report"
    for field, values in sweep.fields.items() if sweep.method == "factors" else ():
        found = [(value, point) for value in values if (point := _varied(sweep, field, value, points))]
        numeric = [(v, p) for v, p in found if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(numeric) < 2:
            continue
        numeric.sort(key=lambda pair: pair[0])
        shown, chosen = zip(*numeric, strict=True)
        operations = [point.goals["operations, G"] for point in chosen]
        varies = None not in operations and len(set(operations)) > 1
        image = figures.factor(
            field, shown, np.array([point.val[:3] for point in chosen]),
            operations=[float(each or 0) for each in operations] if varies else None, **_printed(sweep, field, shown),
        )  # fmt: skip
        report.write(f"{field}.png", image)
    panels = {}
    for name in BETTER:
        rows = [(point.goals[name], point.val.mean, on) for point, on in zip(points, front[name], strict=True)]
        panels[name] = [(cost, share, on) for cost, share, on in rows if cost is not None]
    report.write("pareto.png", figures.pareto({name: rows for name, rows in panels.items() if rows}, BETTER))


def _printed(sweep: Sweep, field: str, shown: Sequence[Any]) -> dict[str, Any]:
    """What the paper prints for values of a field, if it does for all of them."""
    printed, values = sweep.printed.get(field), list(sweep.fields[field])
    places = [values.index(value) for value in shown]
    if not printed or max(places) >= len(printed.values):
        return {"printed": [], "printed_name": ""}
    operations = [printed.operations[place] for place in places] if printed.operations else []
    beside = [printed.values[place] for place in places]
    return {"printed": beside, "printed_name": printed.figure, "printed_operations": operations}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    names = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: name.startswith("the paper"))
    lines = [names, ["---"] * len(names), *([row.get(name, "-") for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _share(found: Accuracy) -> str:
    over_seeds = "" if found.seeds is None else f" ±{100 * found.seeds:.1f}"
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f}){over_seeds}"


def _label(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {short(value)}" for name, value in point.items())
