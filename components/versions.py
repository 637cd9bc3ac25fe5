"""Registered versions of a model: found by number or alias, downloaded without pickle, and the alias "champion".

With components/registry.py and components/sweep_tracker.py, which fill MLflow, and components/served_model.py the only
importers of mlflow.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from components.registry import prepare
from components.settings import Settings, redacted
from components.storage import Folder, folder_at
from dtcm.bundle import CLASSES, FILES
from dtcm.errors import BadInput

CHAMPION, CHALLENGER = "champion", "challenger"
BUNDLE = "artifacts"
"""Below which a registered model keeps its weights, experiment and class names."""
HARMLESS_NAMES = {"MLmodel", "registered_model_meta"}
"""MLflow's own files, YAML both."""
HARMLESS = {".py", ".json", ".safetensors", ".yaml", ".yml", ".txt", ".md", ".lock", ".csv"}
"""Kinds of files that a registered model may hold, besides those. A pickle could be behind any other."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    number: str
    tags: dict[str, str]
    """Where it comes from and what its test gave (components/registry.py)."""


class Versions:
    """The versions of one registered model. Raises BadInput where MLflow cannot be reached."""

    def __init__(self, tracking_uri: str, name: str) -> None:
        if tracking_uri.startswith("sqlite:///") and not Path(tracking_uri.removeprefix("sqlite:///")).exists():
            raise BadInput(
                f"There is no registry at {tracking_uri}; name the storage of the runs with --settings.storage, or "
                "MLflow's server with --settings.tracking-uri."
            )
        prepare(tracking_uri)
        mlflow.set_tracking_uri(tracking_uri)  # downloads look for the registry there
        self.name = name
        self.client = mlflow.MlflowClient(tracking_uri)
        with _said(name):
            self.client.get_registered_model(name)

    def find(self, which: str) -> Version | None:
        """The version of a number or an alias; None if there is none."""
        try:
            found = (
                self.client.get_model_version(self.name, which)
                if which.isdigit()
                else self.client.get_model_version_by_alias(self.name, which)
            )
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise BadInput(f"MLflow cannot be reached ({redacted(str(error)).splitlines()[0][:160]}).") from error
        except SQLAlchemyError as error:
            raise BadInput(f"MLflow cannot be reached ({redacted(str(error)).splitlines()[0][:160]}).") from error
        return Version(str(found.version), dict(found.tags))

    def set_champion(self, number: str) -> None:
        """Move the alias in one step: readers find the old champion or the new one, never none."""
        with _said(self.name):
            self.client.set_registered_model_alias(self.name, CHAMPION, number)

    def note(self, key: str, value: str = "") -> str:
        """A tag of the model as a whole, set to the value if it has none yet."""
        with _said(self.name):
            tags = self.client.get_registered_model(self.name).tags
            if value and key not in tags:
                self.client.set_registered_model_tag(self.name, key, value)
                tags = self.client.get_registered_model(self.name).tags
        return tags.get(key, "")

    def download(self, version: Version, to: Path) -> Folder:
        """The bundle of a version, fetched below a folder of this machine.

        Raises BadInput for a version that holds what might be a pickle, or no bundle.
        """
        uri = f"models:/{self.name}/{version.number}"
        with _said(self.name):
            place = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(to))
        return harmless_bundle(Path(place), uri)


def harmless_bundle(model: Path, uri: str) -> Folder:
    """The bundle within a downloaded model. Raises BadInput if any file might be a pickle, or there is no bundle."""
    files = [file for file in model.rglob("*") if file.is_file()]
    odd = [file for file in files if file.suffix not in HARMLESS and file.name not in HARMLESS_NAMES]
    if odd:
        raise BadInput(
            f"{uri} holds {odd[0].relative_to(model)}, which may be a pickle, and loading one runs whatever it says; "
            "register the model again with this project."
        )
    found = [file.parent for file in files if file.name == CLASSES and file.is_relative_to(model / BUNDLE)]
    if not found or not all((found[0] / name).is_file() for name in FILES):
        raise BadInput(f"{uri} is no model of this project: it lacks {', '.join(FILES)}.")
    return Folder(str(found[0]))


@contextmanager
def bundle_of(model: str, settings: Settings) -> Generator[Folder]:
    """The folder of a bundle: that of a run, or of a registered model fetched for as long as it is needed.

    Args:
        model: a run folder by path or URI; or models:/NAME/VERSION or models:/NAME@ALIAS of MLflow.
        settings: where MLflow is.

    Raises BadInput if there is no such model.
    """
    if not model.startswith("models:/"):
        folder = folder_at(model) / "model"
        if not folder.has(CLASSES):
            raise BadInput(f"There is no trained model in {model}; name the folder of a finished run.")
        yield folder
        return
    name, _, which = model.removeprefix("models:/").replace("@", "/").partition("/")
    versions = Versions(settings.mlflow_uri, name)
    version = versions.find(which or CHAMPION)
    if version is None:
        raise BadInput(f"There is no version {which or CHAMPION!r} of {name}; see MLflow's page for those there are.")
    with tempfile.TemporaryDirectory() as scratch:
        yield versions.download(version, Path(scratch))


@contextmanager
def _said(name: str) -> Generator[None]:
    """MLflow's errors as a sentence."""
    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise BadInput(f"There is no registered model {name!r}; a finished run registers one.") from error
        raise BadInput(f"MLflow cannot be reached ({redacted(str(error)).splitlines()[0][:160]}).") from error
    except SQLAlchemyError as error:
        raise BadInput(f"MLflow cannot be reached ({redacted(str(error)).splitlines()[0][:160]}).") from error
