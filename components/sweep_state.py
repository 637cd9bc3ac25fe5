"""Where a sweep stands by its ledger: which trials it wants, what decides between them, and which are best."""

import json
from collections.abc import Mapping
from typing import Any

from components.ledger import Event, Ledger
from components.runs import Run
from components.settings import Settings
from components.storage import Folder
from components.sweep_plan import Sweep, Trial, factor_points, trial


def sweep_folder(sweep: Sweep, settings: Settings) -> Folder:
    """Where a sweep's ledger, report and best configuration are."""
    return Folder(settings.storage_uri) / sweep.base.data.name / "sweeps" / sweep.name


def run_of(one: Trial, settings: Settings) -> Run:
    """The run of a trial, begun or not."""
    data = one.experiment.data
    return Run(one.name, Folder(settings.storage_uri) / data.name / f"split{data.split}" / one.name, one.experiment)


def validated(run: Run) -> list[dict[str, Any]]:
    """The records of a run's epochs that were validated; the enhancer's, in two-stage training, are not."""
    return [record for record in run.read_metrics() if record["kind"] == "val" and record["metrics"]]


def wanted(sweep: Sweep, ledger: Ledger) -> list[Trial]:
    """All trials of a sweep, as far as they are known: of a search, those of the points proposed so far.

    Of a search each point is trained with the first seed; with the others, best first, if ASHA has let it finish.
    """
    if sweep.method == "factors":
        return [trial(sweep, point, seed) for seed in sweep.seeds for point in factor_points(sweep)]
    first = [event for event in ledger.trials().values() if event["seed"] == sweep.seeds[0]]
    done = [event for event in first if event["event"] == "finished"]
    best = sorted(done, key=lambda event: score(event["val"]), reverse=True)
    others = [trial(sweep, event["point"], seed) for event in best for seed in sweep.seeds[1:]]
    return [trial(sweep, event["point"], event["seed"]) for event in first] + others


def score(val: Mapping[str, float]) -> tuple[float, float]:
    """What decides: accuracy on the validation part, then minus its cross-entropy."""
    return val["top1"], -val["cross_entropy"]


def objective(val: Mapping[str, float]) -> float:
    """One number in (-1, 1] that orders as `score` does: the cross-entropy decides less than a clip does."""
    return val["top1"] - val["cross_entropy"] / (1 + val["cross_entropy"]) / val["clips"]


def best_trials(sweep: Sweep, ledger: Ledger) -> list[Event]:
    """The finished trials of the best point: most seeds first, then by the mean of `score` over them."""
    points: dict[str, list[Event]] = {}
    for event in ledger.trials().values():
        if event["event"] == "finished":
            points.setdefault(json.dumps(event["point"], sort_keys=True), []).append(event)

    def rank(events: list[Event]) -> tuple[float, ...]:
        means = [sum(column) / len(events) for column in zip(*(score(event["val"]) for event in events), strict=True)]
        return (len(events), *means)

    return max(points.values(), key=rank) if points else []
