"""MLflow: one experiment per data set, one run per run folder, one registered model per data set and split.

`metrics.jsonl` is the truth and MLflow is filled from it. A server that cannot be reached delays the
filling and never the training. Only the driver of a run writes to its MLflow run.
"""

import importlib.metadata
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

import dtcm
from components.model_card import environment_lock, lineage, model_card
from components.runs import Run, manifest_sha256
from components.settings import redacted
from components.storage import NoRoom
from dtcm import bundle, config
from dtcm.config import Experiment
from dtcm.models.catalog import NEEDS

UNREACHABLE = (MlflowException, OSError, SQLAlchemyError, NoRoom)
"""What comes of a server that is away, of a database named without a server, and of a run folder on a full disk."""
METRICS_PER_CALL = 1000
"""As many as MLflow takes in one call."""
SERVED_MODEL = Path(__file__).with_name("served_model.py")
"""Stored with a model as text; importing it outside of MLflow would set a model."""
SYNCED = "dtcm.synced_records"
"""Tag of an MLflow run: how many records of metrics.jsonl it holds."""
REGISTERED = "dtcm.registered"
"""Tag of an MLflow run: name and version of its model, once all about it is said."""


class Tracker:
    """Fills one MLflow run from a run folder, as far as the server can be reached."""

    def __init__(self, run: Run, tracking_uri: str) -> None:
        prepare(tracking_uri)
        self.run = run
        self.tracking_uri = tracking_uri
        self.run_id = ""
        self._synced, self._sure = 0, False
        self._complained = False

    def sync(self, records: Sequence[dict[str, Any]]) -> bool:
        """Log the records that MLflow lacks; False, and a sentence once, if it cannot be reached."""
        try:
            client = mlflow.MlflowClient(self.tracking_uri)
            if not self.run_id:
                self.run_id, self._synced = _open_run(client, self.run)
            if not self._sure:
                self._synced, self._sure = _held(client, self.run_id, records, self._synced), True
            while self._synced < len(records):
                self._synced = _log(client, self.run_id, records, self._synced)
        except UNREACHABLE as error:
            if not self._complained:
                reason = redacted(str(error)).splitlines()[0][:160]
                print(f"MLflow cannot be reached ({reason}); metrics.jsonl keeps what it is to have.", flush=True)
            self._complained, self._sure = True, False
            return False
        return True

    def finish(self, test: dict[str, float], files: dict[str, bytes]) -> str:
        """Log figures, result and model, register the model's version and close the run.

        What an earlier call has done is not done again: a run has one version, and its alias is set once.

        Args:
            test: the test's figures, kept with the version as tags.
            files: the bundle of the trained model, by name.

        Returns:
            Name and version, such as "dtcm-sample-split1 version 3"; empty if MLflow cannot be reached.
        """
        try:
            return self._finish(test, files)
        except UNREACHABLE as error:
            reason = redacted(str(error)).splitlines()[0][:160]
            print(f"MLflow did not take the model ({reason}); the run folder has it.", flush=True)
            return ""

    def _finish(self, test: dict[str, float], files: dict[str, bytes]) -> str:
        mlflow.set_tracking_uri(self.tracking_uri)
        client, name = mlflow.MlflowClient(self.tracking_uri), model_name(self.run.experiment)
        known = client.search_model_versions(f"run_id = '{self.run_id}'")
        version = str(known[0].version) if known else self._register(client, name, test, files)
        if not known or REGISTERED not in client.get_run(self.run_id).data.tags:
            client.set_registered_model_alias(name, "challenger", version)
            client.set_tag(self.run_id, REGISTERED, f"{name} version {version}")
        client.set_terminated(self.run_id)
        return f"{name} version {version}"

    def _register(self, client: mlflow.MlflowClient, name: str, test: dict[str, float], files: dict[str, bytes]) -> str:
        """A new version, made as the last thing and with all that it says of itself."""
        lock, classes = environment_lock(), tuple(json.loads(files[bundle.CLASSES]))
        origin = lineage(self.run, files, lock)
        card = model_card(self.run, test, classes, origin)
        with mlflow.start_run(run_id=self.run_id), tempfile.TemporaryDirectory() as scratch:
            for report in (self.run.folder / "report").names():
                (Path(scratch) / report).write_bytes((self.run.folder / "report").read(report))
            mlflow.log_artifacts(scratch, "report")
            mlflow.log_text(config.to_json(self.run.experiment), "config.json")
            texts = {"MODEL_CARD.md": card.encode(), "environment.lock": lock.encode()}
            info = _log_model(self.run.experiment, files | texts)
        _make_registered_model(client, name)
        figures = {key: f"{value:.6g}" for key, value in test.items() if "/" not in key}
        return str(
            client.create_model_version(
                name, info.model_uri, self.run_id, tags=origin | figures, description=card, model_id=info.model_id
            ).version
        )


def prepare(tracking_uri: str) -> None:
    """Before MLflow is used: fewer retries and messages, and a folder for the database."""
    # By default a server that is down, or hangs, would block every call for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def model_name(experiment: Experiment) -> str:
    """Name of the registered model of a data set and split; MLflow's names take no / or : in them."""
    return f"dtcm-{re.sub(r'[^A-Za-z0-9._-]', '-', experiment.data.name)}-split{experiment.data.split}"


def _open_run(client: mlflow.MlflowClient, run: Run) -> tuple[str, int]:
    """The MLflow run of a run folder and how many records it holds; made on first use."""
    if run.folder.has("mlflow.json"):
        run_id = json.loads(run.folder.read("mlflow.json"))["run_id"]
        data = client.get_run(run_id).data
        client.set_terminated(run_id, "RUNNING")
        if not data.params:
            _log_params(client, run_id, run.experiment)
        return run_id, int(data.tags.get(SYNCED, 0))
    experiment, environment = run.experiment, json.loads(run.folder.read("environment.json"))
    found = client.get_experiment_by_name(experiment.data.name)
    experiment_id = found.experiment_id if found else create_experiment(client, experiment.data.name)
    made = client.search_runs([experiment_id], f"tags.run_folder = '{run.folder.uri}'", max_results=1)
    if made:  # and who made it was gone before it could write down which
        run.folder.write("mlflow.json", json.dumps({"run_id": made[0].info.run_id}).encode())
        return _open_run(client, run)
    tags = {
        "dataset": experiment.data.name,
        "split": experiment.data.split,
        "recipe": experiment.recipe,
        "git_commit": environment["git_commit"],
        "git_dirty": environment["git_dirty"],
        "config_sha256": config.sha256(experiment),
        "manifest_sha256": manifest_sha256(run.read_table("manifest.parquet")),
        "run_folder": run.folder.uri,
    }
    run_id = client.create_run(
        experiment_id, run_name=run.name, tags={key: str(value) for key, value in tags.items()}
    ).info.run_id
    # At once: a server that fails at the next call must not get a second run.
    run.folder.write("mlflow.json", json.dumps({"run_id": run_id}).encode())
    _log_params(client, run_id, experiment)
    return run_id, 0


def _log_params(client: mlflow.MlflowClient, run_id: str, experiment: Experiment) -> None:
    params = [Param(name, str(value)) for name, value in config.flatten(experiment).items()]
    client.log_batch(run_id, params=params)


def create_experiment(client: mlflow.MlflowClient, name: str) -> str:
    """The id of a new experiment. Beside a SQLite database lie its artefacts too; a server knows where to put them."""
    uri = client.tracking_uri
    beside = Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts" / name
    return client.create_experiment(name, artifact_location=str(beside) if uri.startswith("sqlite:") else None)


def _log(client: mlflow.MlflowClient, run_id: str, records: Sequence[dict[str, Any]], start: int) -> int:
    """Log records from `start`, as many as fit into one call, and note how far; returns how far."""
    metrics: list[Metric] = []
    end = start
    for record in records[start:]:
        points = [
            Metric(_metric_name(f"{record['kind']}/{name}"), value, int(record["time_s"] * 1000), record["step"])
            for name, value in record["metrics"].items()
        ]
        if metrics and len(metrics) + len(points) > METRICS_PER_CALL:
            break
        metrics, end = metrics + points, end + 1
    while len(metrics) > METRICS_PER_CALL:  # of one record: a test of very many classes
        client.log_batch(run_id, metrics=metrics[:METRICS_PER_CALL])
        metrics = metrics[METRICS_PER_CALL:]
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(SYNCED, str(end))])
    return end


def _held(client: mlflow.MlflowClient, run_id: str, records: Sequence[dict[str, Any]], start: int) -> int:
    """How many records MLflow holds, `start` at least: a call may have had its effect and its tag or answer not."""
    steps: dict[str, set[int]] = {}
    for place in range(start, len(records)):
        record = records[place]
        for name in list(record["metrics"])[:1]:
            key = _metric_name(f"{record['kind']}/{name}")
            if key not in steps:
                steps[key] = {point.step for point in client.get_metric_history(run_id, key)}
            if record["step"] not in steps[key]:
                return place
    return max(start, len(records))


def _metric_name(name: str) -> str:
    """The name without what MLflow forbids in it; the names of classes are the data set's."""
    return re.sub(r"/+", "/", re.sub(r"[^\w./: -]", "_", name)).strip("/")


def _log_model(experiment: Experiment, files: dict[str, bytes]) -> Any:
    data, num_classes = experiment.data, len(json.loads(files[bundle.CLASSES]))
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, data.frames, data.crop_px, data.crop_px, 3))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, num_classes))]),
        ParamSchema([ParamSpec("output", "string", "probabilities")]),
    )
    packages = ["torch", "numpy", "safetensors", "pyarrow", "av", "mlflow"]
    packages += NEEDS.get(experiment.model.classifier, ())
    # MLflow warns that an example (megabytes of JSON) or type hints are missing; the signature says it all.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        inside = Path(folder) / "bundle"
        inside.mkdir()
        for name, content in files.items():
            (inside / name).write_bytes(content)
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(SERVED_MODEL),
            artifacts={"bundle": str(inside)},
            code_paths=[str(Path(dtcm.__file__).parent)],
            signature=signature,
            pip_requirements=[f"{name}=={_version(name)}" for name in packages],
        )


def _make_registered_model(client: mlflow.MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(package: str) -> str:
    """Installed version without a local part, such as +cpu, that no index serves."""
    return importlib.metadata.version(package).split("+")[0]
