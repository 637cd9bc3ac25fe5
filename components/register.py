"""A finished run that MLflow could not be told about, told later: its records, its report, its model."""

import json
from pathlib import PurePosixPath

from components.registry import Tracker
from components.runs import Run
from components.settings import Settings, redacted
from components.storage import Folder, folder_at
from dtcm import config
from dtcm.bundle import FILES
from dtcm.errors import BadInput


def register_run(place: str, tracking_uri: str = "") -> str:
    """Bring MLflow up to date with a finished run; a second call changes nothing.

    Args:
        place: path or URI of the run folder.
        tracking_uri: MLflow server or database; empty for the one that goes with the run's storage.

    Returns:
        Name and version of the registered model. Raises BadInput if the run is not finished or MLflow not reached.
    """
    run = _finished(folder_at(place))
    uri, records = tracking_uri or _beside(run.folder), run.read_metrics()
    test = next(record["metrics"] for record in reversed(records) if record["kind"] == "test")
    tracker = Tracker(run, uri)
    version = tracker.finish(test, {name: run.model.read(name) for name in FILES}) if tracker.sync(records) else ""
    if not version:
        raise BadInput(f"MLflow at {redacted(uri)} did not take the run; run the same command when it can be reached.")
    result = json.loads(run.folder.read("result.json"))
    run.folder.write("result.json", json.dumps({**result, "model_version": version}, indent=2).encode())
    return version


def _finished(folder: Folder) -> Run:
    if not folder.has("result.json"):
        raise BadInput(f"There is no finished run in {folder.uri}; the command that began it goes on with it.")
    experiment = config.from_json(folder.read("config.json").decode())
    return Run(PurePosixPath(folder.uri.split("?")[0]).name, folder, experiment)


def _beside(folder: Folder) -> str:
    """The database that goes with the storage of a run, <storage>/<dataset>/split<k>/<run>."""
    base, mark, options = folder.uri.partition("?")
    return Settings(storage=base.rsplit("/", 3)[0] + mark + options).mlflow_uri
