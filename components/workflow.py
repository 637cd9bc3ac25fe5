"""The main way, from video files to a registered model: index, train, test, register.

Every entry point that trains calls `train_test_register`; nothing else but a pre-training sets up a run.
"""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from components.cluster import cluster
from components.index import index
from components.ingest import make_plan
from components.pretraining import initial_weights
from components.registry import Tracker
from components.report import write_report
from components.runs import Run, close_run, open_run
from components.settings import Settings
from components.state import INITIAL
from components.storage import folder_at, to_parquet
from components.teachers import find_teachers
from components.tester import predict_subset, read_bundle, score, with_leaks
from components.trainer import best_weights, next_step, train
from components.unreadable import counts
from components.watch import watched
from dtcm.bundle import CLASSES, bundle_files, bundle_from_files
from dtcm.config import DataConfig, Experiment, total_epochs
from dtcm.data.datasets import classes, find, load
from dtcm.data.files import absolute
from dtcm.data.leaks import leaks_into
from dtcm.data.records import VideoRecord
from dtcm.data.sample import make_sample
from dtcm.data.splits import assign_subsets
from dtcm.data.transforms import check
from dtcm.data.views import Views
from dtcm.enhancement import METHODS
from dtcm.errors import BadInput
from dtcm.models import ENHANCERS, frozen
from dtcm.models.dtcm import build
from dtcm.options import check_training
from dtcm.step import dry_step

WEAKEST = 5
"""Classes that are named after a test: those with the lowest accuracy."""


@dataclass(frozen=True)
class Result:
    """What a finished run has to show."""

    run: Run
    test: dict[str, float]
    """Figures of the test part, see dtcm.metrics.summary."""
    model_version: str
    """Name and version of the registered model; empty if MLflow could not be reached."""
    tracking_uri: str


class Found(NamedTuple):
    """The videos of an experiment."""

    records: list[VideoRecord]
    format: str
    """As DataConfig.format, found out where it is "auto"."""


def train_test_register(experiment: Experiment, settings: Settings) -> Result:
    """Do a whole run, or the rest of an unfinished one of the same experiment.

    Raises BadInput, before any training and before a run folder exists, for whatever the user can mend.
    """
    records, format = find_videos(experiment)
    names = tuple(classes(records))
    check_experiment(experiment, records, settings)
    with cluster(settings) as use_gpu:
        manifest = index(records, experiment.data, settings)
        run = open_run(experiment, settings, manifest)
        if experiment.model.init == "synthetic" and not run.folder.has(INITIAL):
            run.folder.write(INITIAL, initial_weights(experiment, names, settings, use_gpu))
        tracker = Tracker(run, settings.mlflow_uri)
        steps, begin = make_plan(manifest, experiment).steps, next_step(run.checkpoints)
        print(
            f"Run {run.name}: {steps} steps on {settings.workers} worker(s), {'GPU' if use_gpu else 'CPU'}"
            + (f", from step {begin}" if begin else ""),
            flush=True,
        )
        with watched(run, tracker, steps):
            train(run, manifest, len(names), settings, use_gpu)
        files = bundle_files(best_weights(run), experiment, names)
        for name, content in files.items():
            run.model.write(name, content)
        predictions = predict_subset(
            manifest, run.model, experiment, "test", settings.workers, use_gpu, gpus_per_worker=settings.gpus_per_worker
        )
    test = score(predictions)
    run.write_table("predictions.parquet", predictions)
    _record_test(run, steps, test)
    write_report(run, format, manifest, predictions, bundle_from_files(files))
    version = tracker.finish(test, files) if tracker.sync(run.read_metrics()) else ""
    close_run(run, {**test, "model_version": version, **counts(run.folder)})
    return Result(run, test, version, settings.mlflow_uri)


def test_model(run_folder: str, root: str, whole: bool, out: str, settings: Settings, views: Views) -> dict[str, float]:
    """The figures of a run's best model on a data set whose classes the model knows.

    Args:
        run_folder: path or URI of the run.
        root: folder of the videos; empty for those that the run was trained for.
        whole: test on every video, not only on the test part.
        out: Parquet file for the predictions; empty if they are not wanted.
        settings: where to compute and to keep the index.
        views: clips and crops whose probabilities are averaged.

    Raises BadInput if there is no model in the run folder, or a class that it does not know.
    """
    place, _, name = absolute(out or "predictions.parquet").rpartition("/")
    model = folder_at(run_folder) / "model"
    if not model.has(CLASSES):
        raise BadInput(f"There is no trained model in {run_folder}; name the folder of a finished run.")
    trained = read_bundle(model)
    known, data = trained.classes, trained.experiment.data
    if root:
        data = replace(data, root=root, dataset="", lists="", format="auto", other="leave")
    experiment = replace(trained.experiment, data=data)
    records = load(_rooted(experiment)) if whole else find_videos(experiment).records
    if unknown := sorted({record.class_name for record in records} - set(known)):
        raise BadInput(f"The model does not know the class {unknown[0]!r}; it knows {', '.join(known)}.")
    records = [replace(record, label=known.index(record.class_name)) for record in records]
    if whole:
        records = [replace(record, subset="test") for record in records]
    with cluster(settings) as use_gpu:
        manifest = index(records, experiment.data, settings)
        predictions = predict_subset(
            manifest, model, experiment, "test", settings.workers, use_gpu, views, settings.gpus_per_worker
        )
    if root or whole:  # what leaks is what the model was trained on, which this manifest does not tell
        trained_on = folder_at(run_folder).read_table("manifest.parquet")
        predictions = with_leaks(predictions, leaks_into(manifest, trained_on))
    if out:
        folder_at(place).write(name, to_parquet(predictions))
    return score(predictions)


def describe_test(test: dict[str, float]) -> str:
    """The figures of a test as lines to print, with one where test clips share something with training."""
    lines = [
        f"Test: {test['clips']:.0f} clips, Top-1 {test['top1']:.1%} "
        f"(95 % interval {test['top1_low']:.1%} to {test['top1_high']:.1%}, chance {test['chance']:.1%}), "
        f"Top-5 {test['top5']:.1%}, calibration error {test['ece']:.1%}, "
        f"spatio-temporal inconsistency {test['inconsistency']:.3g}"
    ]
    clean = test.get("leak_free_clips", 0)
    if clean < test["clips"]:
        lines.append(f"Leaks: {test['clips'] - clean:.0f} test clips share a video, source or group with training")
        if clean:
            low, high = test["leak_free_top1_low"], test["leak_free_top1_high"]
            lines[-1] += f"; Top-1 of the others {test['leak_free_top1']:.1%} ({low:.1%} to {high:.1%})"
    bins = {name.removeprefix("dv/"): value for name, value in test.items() if re.fullmatch("dv/.*[^s]", name)}
    if len(bins) > 1:
        shares = (f"{value:.1%} of {test[f'dv/{name} clips']:.0f} at {name}" for name, value in bins.items())
        lines.append(f"By darkness (Dv, -1 is black): {', '.join(shares)}")
    if speed := test.get("clips_per_s"):
        by_class = {name.removeprefix("class/"): value for name, value in test.items() if name.startswith("class/")}
        weakest = sorted(by_class.items(), key=lambda found: found[1])[:WEAKEST]
        lines.append(
            f"Weakest classes: {', '.join(f'{name} {value:.0%}' for name, value in weakest)}; {speed:.3g} clips/s"
        )
    return "\n".join(lines)


def find_videos(experiment: Experiment) -> Found:
    """The listed videos with their subsets, the sample set's where no root is named.

    Raises BadInput if the root, its lists or listed files are missing or wrong.
    """
    data = _rooted(experiment)
    # Which videos are held out belongs to the data set and its split, not to the seed of a training.
    found = find(data)
    records, report = assign_subsets(found.records, data, seed=0)
    counts = ", ".join(f"{count} {subset}" for subset, count in report.counts.items())
    print(f"Data: {experiment.data.name}, split {data.split}, in {data.root}: {counts} videos", flush=True)
    for note in report.notes:
        print(f"  {note}", flush=True)
    return Found(records, found.format)


def _rooted(experiment: Experiment) -> DataConfig:
    """The data's configuration with the place of the sample set where no root is named."""
    if not experiment.data.root and experiment.data.name != "sample":
        raise BadInput(f"Where is {experiment.data.name}? Name its folder with --experiment.data.root.")
    return replace(experiment.data, root=experiment.data.root or str(make_sample()))


def check_experiment(experiment: Experiment, records: Sequence[VideoRecord], settings: Settings) -> None:
    """Raise BadInput for what cannot be trained: subsets, crop, T, names, weights, options, teachers."""
    check(experiment.data)
    names = classes(records)
    for name in ("train", "test"):
        if not any(record.subset == name for record in records):
            raise BadInput(f"There is no {name} video; check the lists, or --experiment.data.test-fraction.")
    logging.getLogger("dtcm").setLevel(logging.INFO)
    logging.basicConfig(format="%(message)s")
    if experiment.optim.batch < settings.workers:
        raise BadInput(
            f"A batch of {experiment.optim.batch} cannot be shared by {settings.workers} workers; "
            "raise --experiment.optim.batch or lower --settings.workers."
        )
    check_training(experiment, settings.workers)
    find_teachers(experiment, dict(enumerate(names)))
    _check_enhancer(experiment)
    model = build(experiment.model, len(names), experiment.data.frames, experiment.data.crop_px)
    try:
        dry_step(model, experiment, experiment.optim.batch // settings.workers // experiment.optim.accumulate)
    except (ValueError, RuntimeError) as error:
        raise BadInput(
            f"{experiment.model.classifier} cannot be trained on {experiment.data.frames} frames of "
            f"{experiment.data.crop_px}x{experiment.data.crop_px} px ({str(error).splitlines()[0]}); "
            "choose other --experiment.data.frames or --experiment.data.crop-px."
        ) from error


def _check_enhancer(experiment: Experiment) -> None:
    """Raise BadInput for an enhancer that neither comes trained nor is trained here."""
    name, weights = experiment.model.enhancer, experiment.model.enhancer_weights
    if name in METHODS and name not in ENHANCERS:
        frozen.check(name, weights)
    elif experiment.loss.setting == "frozen" and not weights:
        raise BadInput(
            f"A frozen {name!r} would stay as it was initialised; name its trained weights with "
            "--experiment.model.enhancer-weights, or choose another --experiment.loss.setting."
        )
    elif experiment.loss.setting == "two-stage" and experiment.optim.enhancer_epochs < 1:
        raise BadInput(
            "Two-stage training begins with the enhancer; let --experiment.optim.enhancer-epochs be 1 or more."
        )


def _record_test(run: Run, steps: int, test: dict[str, float]) -> None:
    """Put the test's figures behind the training's, in place of those of an interrupted attempt."""
    records = [record for record in run.read_metrics() if record["kind"] != "test"]
    epoch = total_epochs(run.experiment)
    records.append({"kind": "test", "step": steps, "epoch": epoch, "time_s": time.time(), "metrics": test})
    run.write_metrics(records)
