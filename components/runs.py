"""A run is a folder: `<storage>/<dataset>/split<k>/<run>/`, laid out alike on disk and on S3.

config.json         the experiment
environment.json    commit, versions, hardware, command
execution.json      precision, memory layout and compiler of the steps, and why
mlflow.json         which run of MLflow's it is
manifest.parquet    every video used, with hash, label and subset
unreadable.jsonl    only if videos could no longer be read
not_finite.json     only if the loss was not finite: the step and its clips
metrics.jsonl       a line per step, epoch and test: the record that MLflow is filled from
initial.safetensors weights to begin with, where they were pre-trained
checkpoints/        step_*/ with a COMMITTED file
model/              best epoch: weights, experiment, class names
predictions.parquet one row per test clip
report/             index.html and its figures
result.json         written last: a run without it is not finished
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from components.exclusive import alive
from components.settings import Settings, redacted
from components.storage import Folder, to_parquet
from dtcm import config
from dtcm.bundle import WEIGHTS
from dtcm.config import Experiment
from dtcm.data.files import join, read_bytes
from dtcm.errors import BadInput

METRICS = "metrics.jsonl"
PACKAGES = ("torch", "ray", "mlflow", "pyarrow", "av", "numpy", "safetensors")


@dataclass(frozen=True)
class Run:
    """A run's place and what it computes."""

    name: str
    folder: Folder
    experiment: Experiment

    @property
    def checkpoints(self) -> Folder:
        """Where the checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Folder:
        """Where the bundle of the trained model is."""
        return self.folder / "model"

    def read_metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, oldest first."""
        if not self.folder.has(METRICS):
            return []
        return [json.loads(line) for line in self.folder.read(METRICS).splitlines()]

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl as a whole, so that it never ends in half a line."""
        self.folder.write(METRICS, b"".join(map(line, records)))

    def read_table(self, name: str) -> pa.Table:
        """A Parquet file of the run."""
        return self.folder.read_table(name)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file of the run."""
        self.folder.write(name, to_parquet(table))


def line(record: dict[str, Any]) -> bytes:
    """A record as its line of metrics.jsonl."""
    return json.dumps(record).encode() + b"\n"


def open_run(experiment: Experiment, settings: Settings, manifest: pa.Table) -> Run:
    """The run to do now: a new one, or the unfinished one of the same experiment.

    Raises BadInput if the named run is finished or another experiment's, if its data have changed, or
    if another process on this machine is at it.
    """
    parent = Folder(settings.storage_uri) / experiment.data.name / f"split{experiment.data.split}"
    name = settings.run or _next_name(parent, f"{experiment.recipe}-{config.sha256(experiment)[:8]}")
    run = Run(name, parent / name, experiment)
    if run.folder.has("config.json"):
        _check_same(run, manifest)
    else:
        run.write_table("manifest.parquet", manifest)
        with_what = environment() | {"workers": settings.workers, "weights": _weights(experiment)}
        run.folder.write("environment.json", json.dumps(with_what, indent=2).encode())
        run.folder.write("config.json", config.to_json(experiment).encode())
    _take(run)
    return run


def close_run(run: Run, result: dict[str, Any]) -> None:
    """Mark the run as finished, with its figures."""
    run.folder.write("result.json", json.dumps(result, indent=2).encode())
    run.folder.remove("RUNNING")


def manifest_sha256(manifest: pa.Table) -> str:
    """Hash over which videos (by content), labels and subsets a run uses, wherever they lie."""
    columns = manifest.select(["video_id", "sha256", "label", "class_name", "subset"]).sort_by("video_id")
    return hashlib.sha256(json.dumps(columns.to_pylist(), sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, Any]:
    """What this runs on and with: commit, versions, hardware, command. No environment variables and no passwords."""
    return {
        **_git(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "command": [redacted(argument) for argument in sys.argv],
    }


def _weights(experiment: Experiment) -> list[dict[str, str]]:
    """Path and hash of every file of weights that the experiment begins with or learns from."""
    paths = [experiment.model.enhancer_weights, experiment.model.classifier_weights]
    paths += [join(teacher, WEIGHTS) for teacher in experiment.loss.teachers]
    return [{"path": path, "sha256": hashlib.sha256(read_bytes(path)).hexdigest()} for path in paths if path]


def _git() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", ":/", ":(top,exclude)COMMIT")
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        stamp = Path(__file__).parents[1] / "COMMIT"  # of an image, which is built without .git
        commit = stamp.read_text().strip() if stamp.is_file() else ""
        return {"git_commit": commit, "git_dirty": False} if commit else {"git_commit": "unknown", "git_dirty": None}


def _next_name(parent: Folder, base: str) -> str:
    """`base`, `base-2`, ...: the first that is not finished."""
    number = 1
    while (parent / (name := base if number == 1 else f"{base}-{number}")).has("result.json"):
        number += 1
    return name


def _check_same(run: Run, manifest: pa.Table) -> None:
    if run.folder.has("result.json"):
        raise BadInput(f"The run {run.name} is finished; name another with --settings.run, or name none.")
    if config.sha256(config.from_json(run.folder.read("config.json").decode())) != config.sha256(run.experiment):
        raise BadInput(f"The run {run.name} belongs to another experiment; name another with --settings.run.")
    if manifest_sha256(run.read_table("manifest.parquet")) != manifest_sha256(manifest):
        raise BadInput(
            f"The videos or lists have changed since the run {run.name} began, so it cannot go on; "
            "start a new one with another --settings.run."
        )


def _take(run: Run) -> None:
    """Refuse a run that a living process of this machine is at."""
    if run.folder.has("RUNNING"):
        owner = json.loads(run.folder.read("RUNNING"))
        if owner["host"] == socket.gethostname() and owner["pid"] != os.getpid() and alive(owner["pid"]):
            raise BadInput(
                f"The run {run.name} is being trained by process {owner['pid']}; wait for it, "
                "or start another with --settings.run."
            )
    run.folder.write("RUNNING", json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
