"""Ray Tune runs the trials of a sweep, each an ordinary run in a run folder of its own.

Tune only schedules. A trial's epochs are read from its metrics.jsonl and reported to Tune, so that ASHA can stop it;
what becomes of it the driver enters in the ledger.
"""

import json
import logging
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import optuna
import ray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from components.ledger import Ledger
from components.settings import Settings, redacted
from components.sweep_plan import Range, Sweep, Trial, corner_points, short, trial
from components.sweep_state import objective, run_of, score, validated, wanted
from components.sweep_tracker import SweepTracker
from components.workflow import train_test_register
from dtcm.config import total_epochs
from dtcm.errors import BadInput

A_BYTE: dict[str, float] = {"memory": 1}
"""What Tune reserves for a trial's own process, which only waits. It must be something, and the least part of a CPU
would keep a whole one from Train's workers and the decoders, which reserve what they need."""


@dataclass(frozen=True)
class Sweeping:
    """A sweep under way: what its driver holds."""

    sweep: Sweep
    settings: Settings
    ledger: Ledger
    tracker: SweepTracker
    concurrent: int
    """Trials at once."""
    hours: float
    """Most hours that trials train. 0: any."""
    begin_s: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float | None:
        """Seconds of the budget that are left; None if any time may pass."""
        return self.hours * 3600 - (time.monotonic() - self.begin_s) if self.hours else None


def reconcile(going: Sweeping) -> None:
    """Enter what finished without its driver, which was killed before it could say so."""
    for event in going.ledger.trials().values():
        one = trial(going.sweep, event["point"], event["seed"])
        if event["event"] != "finished" and run_of(one, going.settings).folder.has("result.json"):
            _finish(going, one)


def run_listed(going: Sweeping, budget: int | None) -> None:
    """Train what is known to be wanted and not finished; in a search, with the seeds after the first."""
    sweep, known = going.sweep, going.ledger.trials()
    searched = sweep.seeds[:1] if sweep.method == "search" else ()
    listed = [one for one in wanted(sweep, going.ledger) if one.experiment.seed not in searched]
    missing = [one for one in listed if known.get(one.name, {}).get("event") != "finished"][:budget]
    if missing:
        configs = [{"point": one.point, "seed": one.experiment.seed} for one in missing]
        _tune(going, param_space={"trial": tune.grid_search(configs)})


def search(going: Sweeping, grace_epochs: int, budget: int | None) -> int | None:
    """Propose and train points with the first seed; returns what is left of the budget of trials.

    A study is made anew from the ledger. Points that were cut off come first, then new ones.
    """
    sweep = going.sweep
    known = [event for event in going.ledger.trials().values() if event["seed"] == sweep.seeds[0]]
    over = [event for event in known if event["event"] in ("finished", "stopped")]
    again = [event["point"] for event in known if event not in over]
    number = sweep.points - len(over)
    number = number if budget is None else min(number, budget)
    if number > 0:
        space: dict[str, Any] = {name: _distribution(values) for name, values in sweep.fields.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name=sweep.name, direction="maximize")
        for event in over:
            study.add_trial(
                optuna.trial.create_trial(params=event["point"], distributions=space, value=objective(event["val"]))
            )
        epochs = [total_epochs(trial(sweep, point, sweep.seeds[0]).experiment) for point in corner_points(sweep)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # constant_liar: points near those that are still being trained are less likely to be proposed.
            sampler = optuna.samplers.TPESampler(seed=sweep.seeds[0] + len(over), constant_liar=True)
        options: dict[str, Any] = {"storage": storage, "study_name": sweep.name, "sampler": sampler}
        searcher = OptunaSearch(
            space, metric="objective", mode="max", points_to_evaluate=again[:number] or None,
            **options,
        )  # fmt: skip
        scheduler = Stopper(
            time_attr="epoch", metric="objective", mode="max", grace_period=grace_epochs, reduction_factor=3,
            # Beyond the last epoch of any point, since a trial is tested and registered after it.
            max_t=max(grace_epochs, 1 + max(epochs)),
        )  # fmt: skip
        _tune(going, searcher=searcher, scheduler=scheduler, number=number)
    return None if budget is None else max(0, budget - max(0, number))


def _distribution(values: Any) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    kind = IntDistribution if isinstance(values.low, int) else FloatDistribution
    return kind(values.low, values.high, log=values.log)


class Stopper(ASHAScheduler):
    """ASHA that remembers which trials it stopped; Tune itself calls them finished."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune's decision about a trial, after an epoch."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return decision


class Scribe(tune.Callback):
    """Enters in the ledger, on the driver, what Tune's trials do, and prints a line of it."""

    def __init__(self, going: Sweeping, stopper: Stopper | None) -> None:
        self.going, self.stopper = going, stopper

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial starts, for the first time or again."""
        one = _trial_of(self.going.sweep, trial.config)
        facts = {"point": one.point, "seed": one.experiment.seed, "run": run_of(one, self.going.settings).folder.uri}
        self.going.ledger.append(one.name, "started", **facts)
        _say(one, "starts")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has done an epoch."""
        one = _trial_of(self.going.sweep, trial.config)
        if "problem" in result:
            return
        epochs = total_epochs(one.experiment)
        _say(one, f"epoch {result['epoch']} of {epochs}, best val top-1 {result['val']['top1']:.1%}")
        self.going.tracker.adopt(run_of(one, self.going.settings).folder)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended, or was stopped: by ASHA, or because the time is up, which leaves it to go on."""
        one = _trial_of(self.going.sweep, trial.config)
        run = run_of(one, self.going.settings)
        if run.folder.has("result.json"):
            _finish(self.going, one)
        elif self.stopper and trial.trial_id in self.stopper.stopped:
            result = trial.last_result
            self.going.ledger.append(one.name, "stopped", epochs=result["epoch"], val=result["val"])
            self.going.tracker.adopt(run.folder, "KILLED")
            _say(one, f"stopped by ASHA after epoch {result['epoch']}")
        elif "problem" in (trial.last_result or {}):
            self._fail(one, trial.last_result["problem"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed more often than the settings allow."""
        lines = str(trial.get_pickled_error() or "unknown").strip().splitlines()
        self._fail(_trial_of(self.going.sweep, trial.config), lines[-1][:300])

    def _fail(self, one: Trial, reason: str) -> None:
        reason = redacted(reason)
        self.going.ledger.append(one.name, "failed", reason=reason)
        self.going.tracker.adopt(run_of(one, self.going.settings).folder, "FAILED")
        _say(one, f"failed: {reason}")


def _tune(
    going: Sweeping,
    searcher: OptunaSearch | None = None,
    scheduler: Stopper | None = None,
    number: int = 1,
    param_space: dict[str, Any] | None = None,
) -> None:
    """Run trials until none is left or the time is up. Tune's own state is kept only as long."""
    if going.left_s is not None and going.left_s <= 0:
        return
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger says what became of every trial
    state = going.ledger.folder / "tune"
    threads = going.settings.threads or max(1, (os.cpu_count() or 1) // (going.concurrent * going.settings.workers))
    job = partial(run_trial, sweep=going.sweep, settings=replace(going.settings, threads=threads))
    tuner = tune.Tuner(
        tune.with_resources(job, A_BYTE),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=scheduler, num_samples=number, max_concurrent_trials=going.concurrent,
            time_budget_s=going.left_s,
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}", storage_path=state.uri, verbose=0, callbacks=[Scribe(going, scheduler)],
            failure_config=tune.FailureConfig(max_failures=going.settings.max_failures),
        ),
    )  # fmt: skip
    tuner.fit()
    going.ledger.folder.remove("tune")


def run_trial(config: dict[str, Any], sweep: Sweep, settings: Settings) -> None:
    """What Tune runs for a trial: it starts the training and reports each epoch, after which Tune may end this process.

    The training is a task of its own, outside what Tune reserved, where Train can place its workers. This process owns
    it, so it ends with this process.
    """
    one = _trial_of(sweep, config)
    run, reported = run_of(one, settings), 0
    # When a training was ended, Train frees its CPUs by the state of its actors. It must know of which cluster, where
    # there are several on one machine.
    address = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    options: dict[str, Any] = {"scheduling_strategy": "DEFAULT", "runtime_env": {"env_vars": address}}
    training = _train.options(**options).remote(one, settings)
    try:
        while True:
            ended, _ = ray.wait([training], timeout=1 if run.folder.is_local else 15)
            try:
                epochs = validated(run)
            except OSError:  # the store is away, for which the training waits too
                if ended:
                    raise
                continue
            for done in range(reported, len(epochs)):
                best = max((record["metrics"] for record in epochs[: done + 1]), key=score)
                tune.report({"epoch": epochs[done]["epoch"], "objective": objective(best), "val": best})
            reported = max(reported, len(epochs))
            if ended:
                break
    finally:  # a report of a trial that Tune stops does not return
        ray.cancel(training, force=True)
    if problem := ray.get(training):
        tune.report({"problem": problem, "epoch": 0, "objective": -1.0})


@ray.remote(num_cpus=0, max_retries=0)
def _train(one: Trial, settings: Settings) -> str:
    """The whole way from videos to a registered model; returns what is wrong where trying again cannot help."""
    try:
        if not run_of(one, settings).folder.has("result.json"):
            train_test_register(one.experiment, replace(settings, run=one.name))
    except BadInput as error:
        return str(error)
    return ""


def _trial_of(sweep: Sweep, config: Mapping[str, Any]) -> Trial:
    """The trial of one of Tune's configurations, listed or proposed by Optuna."""
    listed = config.get("trial")
    return trial(sweep, listed["point"], listed["seed"]) if listed else trial(sweep, config, sweep.seeds[0])


def _finish(going: Sweeping, one: Trial) -> None:
    """Enter a finished run with the figures of its best epoch, and of its test."""
    run = run_of(one, going.settings)
    test = json.loads(run.folder.read("result.json"))
    epochs = validated(run)
    val = max((record["metrics"] for record in epochs), key=score)
    going.ledger.append(
        one.name, "finished", point=one.point, seed=one.experiment.seed, run=run.folder.uri, epochs=epochs[-1]["epoch"],
        val=val, test=test,
    )  # fmt: skip
    going.tracker.adopt(run.folder)
    _say(one, f"finished, val top-1 {val['top1']:.1%}, test {test['top1']:.1%}")


def _say(one: Trial, what: str) -> None:
    values = ", ".join(f"{name.rpartition('.')[2]} {short(value)}" for name, value in one.point.items())
    print(f"{values}, seed {one.experiment.seed}: {what}", flush=True)
