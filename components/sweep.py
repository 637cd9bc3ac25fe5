"""A sweep: many ordinary runs of `train_test_register` around one experiment, scheduled by Ray Tune.

The ledger and the run folders are the truth: the same command goes on from them, whatever became of Tune's state.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import ray

from components.cluster import cluster, prepare, start_here, workers_on
from components.exclusive import locked
from components.index import index
from components.ledger import Ledger
from components.settings import Settings, in_ray_job
from components.storage import Folder
from components.sweep_plan import Sweep, corner_points, definition, factor_points, trial
from components.sweep_state import sweep_folder
from components.sweep_tracker import SweepTracker
from components.sweep_trials import Sweeping, reconcile, run_listed, search
from components.workflow import check_experiment, find_videos
from dtcm.errors import BadInput

ENVIRONMENT = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
"""Relative paths stay what they are; Tune writes no curves of its own and leaves the terminal alone."""


@dataclass(frozen=True)
class Limits:
    """How much a sweep may do, and how much at once. Nothing here changes a trial."""

    trials: int = 0
    """Most trials that this command starts. 0: any number."""
    hours: float = 0.0
    """Most hours that this command trains; what is unfinished then goes on with the next. 0: any time."""
    concurrent: int = 0
    """Trials at once. 0: as many as there is room for; on one machine without GPUs, a core for each worker."""
    grace_epochs: int = 3
    """Epochs before ASHA may stop a trial of a search; it judges again at 3, 9, 27, ... times as many."""
    exclusive: bool = False
    """Start nothing while any other exclusive sweep of this data set runs, as a schedule wants it."""


def run_sweep(sweep: Sweep, settings: Settings, limits: Limits) -> None:
    """Do all trials of a sweep that are not done, within the limits.

    Raises BadInput, before the first trial, for whatever the user can mend.
    """
    if settings.run:
        raise BadInput("A sweep makes many runs, each named by its experiment; leave out --settings.run.")
    settings = replace(settings, storage=settings.storage_uri, tracking_uri=settings.mlflow_uri)
    records = find_videos(sweep.base).records
    if not any(record.subset == "val" for record in records):
        raise BadInput("The validation part decides a sweep; let --experiment.data.val-fraction be above 0.")
    for point in factor_points(sweep) if sweep.method == "factors" else corner_points(sweep):
        check_experiment(trial(sweep, point, sweep.seeds[0]).experiment, records, settings)
    folder = sweep_folder(sweep, settings)
    os.environ.update(ENVIRONMENT)
    beside = Folder(folder.uri.rpartition("/")[0])
    others = locked(beside, "Another exclusive sweep of this data set") if limits.exclusive else nullcontext()
    with others, locked(folder, f"The sweep {sweep.name}"), _room(settings, limits) as concurrent:
        _keep_definition(sweep, folder)
        print(f"Sweep {sweep.name}: {concurrent} trial(s) at once", flush=True)
        tracker = SweepTracker(folder, sweep.name, sweep.base.data.name, settings.mlflow_uri)
        tracker.open(definition(sweep))
        going = Sweeping(sweep, settings, Ledger(folder), tracker, concurrent, limits.hours)
        index(records, sweep.base.data, settings)
        reconcile(going)
        budget = limits.trials or None
        if sweep.method == "search":
            budget = search(going, limits.grace_epochs, budget)
        run_listed(going, budget)


def _keep_definition(sweep: Sweep, folder: Folder) -> None:
    kept = json.dumps(definition(sweep), indent=2).encode()
    if not folder.has("sweep.json"):
        folder.write("sweep.json", kept)
    elif json.loads(folder.read("sweep.json")) != json.loads(kept):
        raise BadInput(
            f"The sweep {sweep.name} was begun with other fields, seeds or experiment; choose another --name."
        )


@contextmanager
def _room(settings: Settings, limits: Limits) -> Generator[int]:
    """A connected cluster, and how many trials may run at once on it."""
    own = not (ray.is_initialized() or settings.ray_address or os.environ.get("RAY_ADDRESS") or in_ray_job())
    if own:
        prepare()
        atonce = limits.concurrent or max(1, (os.cpu_count() or 1) // settings.workers)
        start_here(atonce * (settings.workers + 1))  # logical CPUs: for each trial its workers and one to decode
    try:
        with cluster(settings) as use_gpu:
            total = ray.cluster_resources()
            cpus, gpus = total["CPU"], total.get("GPU", 0) if use_gpu else None
            room = trials_at_once(cpus, gpus, settings.workers, settings.gpus_per_worker)
            yield min(room, limits.concurrent) if limits.concurrent else room
    finally:
        if own:
            ray.shutdown()


def trials_at_once(cpus: float, gpus: float | None, workers: int, gpus_per_worker: float = 1.0) -> int:
    """How many trials never wait for each other for ever; 0 if there is no room for one.

    Train's workers hold their CPUs while they wait for clips, so each trial has one more, to decode.

    Args:
        cpus: of the cluster.
        gpus: of the cluster; None if trials do not use them.
        workers: of a trial, a CPU each.
        gpus_per_worker: what each worker reserves of the GPUs, if trials use them.
    """
    room = int(cpus // (workers + 1))
    return room if gpus is None else min(room, workers_on(gpus, gpus_per_worker) // workers)
