"""MLflow's view of a sweep: one run, the parent of its trials' runs, and the best trial's model as challenger."""

import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param

from components.registry import UNREACHABLE, create_experiment, prepare
from components.settings import redacted
from components.storage import Folder


class SweepTracker:
    """Keeps the MLflow run of a sweep, the parent of its trials' runs, as far as the server can be reached."""

    def __init__(self, folder: Folder, name: str, dataset: str, tracking_uri: str) -> None:
        prepare(tracking_uri)
        self.folder, self.name, self.dataset, self.tracking_uri = folder, name, dataset, tracking_uri
        self._adopted: set[tuple[str, str]] = set()

    def open(self, definition: dict[str, Any]) -> None:
        """The sweep's run, made on first use; before any trial, so that these find database and experiment."""
        with _tolerant("the sweep"):
            client = mlflow.MlflowClient(self.tracking_uri)
            if self.folder.has("mlflow.json"):
                return client.set_terminated(self._run_id(), "RUNNING")
            found = client.get_experiment_by_name(self.dataset)
            experiment_id = found.experiment_id if found else create_experiment(client, self.dataset)
            tags = {"dataset": self.dataset, "sweep": self.name, "sweep_folder": self.folder.uri}
            run_id = client.create_run(experiment_id, run_name=f"sweep {self.name}", tags=tags).info.run_id
            values = {"method": definition["method"], "seeds": definition["seeds"], **definition["fields"]}
            client.log_batch(run_id, params=[Param(key, json.dumps(value)) for key, value in values.items()])
            self.folder.write("mlflow.json", json.dumps({"run_id": run_id}).encode())

    def adopt(self, run: Folder, status: str = "") -> None:
        """Make the MLflow run of a trial's run folder a child; with a status, close it where its process could not."""
        if (run.uri, status) in self._adopted or not (self.folder.has("mlflow.json") and run.has("mlflow.json")):
            return
        with _tolerant("a trial"):
            client = mlflow.MlflowClient(self.tracking_uri)
            child = json.loads(run.read("mlflow.json"))["run_id"]
            client.set_tag(child, "mlflow.parentRunId", self._run_id())
            client.set_tag(child, "sweep", self.name)
            if status:
                client.set_terminated(child, status)
            self._adopted.add((run.uri, status))

    def close(self, figures: dict[str, float], challenger: str) -> None:
        """Log figures, the report and the best configuration; the best trial's model becomes the challenger.

        Args:
            figures: of the best point.
            challenger: name and version as `Tracker.finish` gives them; empty if there is none.
        """
        if not self.folder.has("mlflow.json"):
            return
        with _tolerant("the report of the sweep"), tempfile.TemporaryDirectory() as scratch:
            client, report = mlflow.MlflowClient(self.tracking_uri), self.folder / "report"
            client.log_batch(self._run_id(), metrics=[Metric(key, v, 0, 0) for key, v in figures.items()])
            for name in report.names():
                (Path(scratch) / name).write_bytes(report.read(name))
            client.log_artifacts(self._run_id(), scratch, "report")
            if self.folder.has("best.json"):
                client.log_text(self._run_id(), self.folder.read("best.json").decode(), "best.json")
            if challenger:
                name, _, version = challenger.partition(" version ")
                client.set_registered_model_alias(name, "challenger", version)
            client.set_terminated(self._run_id())

    def _run_id(self) -> str:
        return json.loads(self.folder.read("mlflow.json"))["run_id"]


@contextmanager
def _tolerant(what: str) -> Generator[None]:
    """A server that cannot be reached costs a sentence and nothing else."""
    try:
        yield
    except UNREACHABLE as error:
        print(f"MLflow did not take {what} ({redacted(str(error)).splitlines()[0][:160]}).", flush=True)
