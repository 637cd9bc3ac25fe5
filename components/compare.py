"""Fills a table of the paper with ours: costs, and the tests of finished runs, which are made where they are missing.

A row with a seed is an ordinary run of `train_test_register`, found again by the hash of its experiment. So a table
that was interrupted goes on where it was, and rows that tables share are trained once.
"""

import json
import re
from collections.abc import Mapping, Sequence

from components.cluster import cluster
from components.runs import Run, manifest_sha256
from components.settings import Settings
from components.storage import Folder
from components.tester import right_clips
from components.workflow import find_videos, train_test_register
from dtcm import config
from dtcm.config import Experiment, with_overrides
from dtcm.errors import BadInput
from dtcm.tables import Entry, Table, costs
from dtcm.tables.markdown import Ours, Outcome
from dtcm.tables.measure import measure

Key = tuple[str, int]
"""Label of a row, and seed."""


def experiments(
    entries: Sequence[Entry], base: Experiment, seeds: Sequence[int], weights: Mapping[str, str]
) -> dict[Key, Experiment]:
    """The experiment of every row with every seed; rows that are not built have none.

    Args:
        entries: rows of a table.
        base: what the rows leave open, data and schedule above all.
        seeds: of each row.
        weights: file from which an enhancer or classifier starts, by its name. Those of `base` stay with the models
            that `base` names.
    """
    made = {}
    for seed in seeds:
        for entry in entries:
            if entry.overrides is not None:
                experiment = with_overrides(base, {**entry.overrides, "seed": seed})
                made[entry.label, seed] = with_overrides(experiment, _weights(experiment, base, weights))
    return made


def train_missing(wanted: Mapping[Key, Experiment], base: Experiment, settings: Settings) -> dict[str, str]:
    """Train and test what has no finished run. Returns why rows could not be trained, by label.

    Raises BadInput for what is wrong with all of them: data, cluster, settings.
    """
    if settings.run:
        raise BadInput("A table makes many runs, each named by its experiment; leave out --settings.run.")
    missing = {key: experiment for key, experiment in wanted.items() if finished(experiment, settings) is None}
    if not missing:
        return {}
    find_videos(base)
    problems: dict[str, str] = {}
    with cluster(settings):
        for number, ((label, seed), experiment) in enumerate(missing.items(), start=1):
            if label in problems:
                continue
            print(f"\nRow {label}, seed {seed} ({number} of {len(missing)} runs)", flush=True)
            try:
                train_test_register(experiment, settings)
            except BadInput as error:
                problems[label] = str(error).replace("--experiment.model.enhancer-weights", "--weights NAME FILE")
                print(f"  {problems[label]}", flush=True)
    return problems


def finished(experiment: Experiment, settings: Settings) -> Run | None:
    """The latest finished run of an experiment in the storage."""
    digest = config.sha256(experiment)
    parent = Folder(settings.storage_uri) / experiment.data.name / f"split{experiment.data.split}"
    pattern = re.compile(re.escape(f"{experiment.recipe}-{digest[:8]}") + r"(?:-(\d+))?")
    found = [(int(match[1] or 1), name) for name in parent.names() if (match := pattern.fullmatch(name))]
    for _, name in sorted(found, reverse=True):
        folder = parent / name
        if folder.has("result.json"):
            trained = config.from_json(folder.read("config.json").decode())
            if config.sha256(trained) == digest:
                return Run(name, folder, trained)
    return None


def collect(table: Table, wanted: Mapping[Key, Experiment], settings: Settings) -> dict[str, Ours]:
    """The tests of the finished runs among those wanted, for every row of a table by its label."""
    tested: dict[str, dict[int, Outcome]] = {entry.label: {} for entry in table.entries}
    for (label, seed), experiment in wanted.items():
        if run := finished(experiment, settings):
            tested[label][seed] = _tested(run)
    return {label: Ours(tested=tests) for label, tests in tested.items()}


def count(table: Table, chosen: Sequence[Entry], ours: dict[str, Ours], device: str = "") -> None:
    """Put costs into the chosen rows, and their time and memory on `device` if one is named.

    A row whose model needs an extra that is not installed says so.
    """
    counted = {entry.label: entry.counted for entry in table.entries}
    for entry in chosen:
        label, reference = entry.label, counted.get(entry.timed_against)
        if entry.counted is None:
            continue
        try:
            ours[label] = ours[label]._replace(costs=costs(entry.counted))
            if device and reference:
                print(f"Measuring {label} on {device}", flush=True)
                ours[label] = ours[label]._replace(measured=measure(entry.counted, reference, device))
        except BadInput as error:
            ours[label] = ours[label]._replace(problem=str(error))


def about(wanted: Mapping[Key, Experiment]) -> str:
    """What ours were trained and tested on, in a sentence; print's are on another."""
    experiment = next(iter(wanted.values()))
    data, models = experiment.data, [experiment.model for experiment in wanted.values()]
    started = {model.enhancer for model in models if model.enhancer_weights}
    started |= {model.classifier for model in models if model.classifier_weights}
    return (
        f"Ours: trained and tested on {data.name}, split {data.split}, by the recipe {experiment.recipe} in "
        f"{experiment.optim.epochs} epochs; from given weights: {', '.join(sorted(started)) or 'none'}."
    )


def _weights(experiment: Experiment, base: Experiment, weights: Mapping[str, str]) -> dict[str, str]:
    files = {}
    for part in ("enhancer", "classifier"):
        name = getattr(experiment.model, part)
        own = getattr(base.model, f"{part}_weights") if name == getattr(base.model, part) else ""
        files[f"model.{part}_weights"] = weights.get(name, own)
    return files


def _tested(run: Run) -> Outcome:
    result, predictions = json.loads(run.folder.read("result.json")), run.read_table("predictions.parquet")
    manifest = manifest_sha256(run.read_table("manifest.parquet"))
    return Outcome(manifest, right_clips(predictions), result["top5"], result["inconsistency"])
