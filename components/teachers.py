"""Finished runs, on disk or S3, as teachers of one that trains (see `dtcm.distill`)."""

import json
from collections.abc import Mapping, Sequence

import torch

from components.storage import Folder, folder_at
from dtcm import config
from dtcm.bundle import CLASSES, EXPERIMENT, FILES, bundle_from_files
from dtcm.config import Experiment
from dtcm.distill import Teachers
from dtcm.errors import BadInput


def find_teachers(experiment: Experiment, class_names: Mapping[int, str]) -> list[Folder]:
    """The model folders that the experiment names, by their absolute places.

    Raises BadInput if one holds no model, or one of other classes (by label and name) or clips than the student's.
    """
    folders = [folder_at(place) for place in experiment.loss.teachers]
    for folder in folders:
        _check(folder, experiment, class_names)
    return folders


def load_teachers(folders: Sequence[Folder], device: torch.device) -> Teachers | None:
    """The models of `find_teachers` on a device; None without folders."""
    if not folders:
        return None
    bundles = ({name: folder.read(name) for name in FILES} for folder in folders)
    return Teachers([bundle_from_files(files, device).model for files in bundles])


def _check(folder: Folder, experiment: Experiment, class_names: Mapping[int, str]) -> None:
    if not folder.has(CLASSES):
        raise BadInput(
            f"There is no trained model in {folder.uri}; name the folder `model` of finished runs with "
            "--experiment.loss.teachers."
        )
    taught = dict(enumerate(json.loads(folder.read(CLASSES))))
    if taught != dict(class_names):
        raise BadInput(f"The teacher in {folder.uri} knows other classes than this run's; choose one of the same data.")
    theirs, ours = config.from_json(folder.read(EXPERIMENT).decode()).data, experiment.data
    if (theirs.frames, theirs.crop_px) != (ours.frames, ours.crop_px):
        raise BadInput(
            f"The teacher in {folder.uri} takes {theirs.frames} frames of {theirs.crop_px} px and this run's clips "
            f"have {ours.frames} of {ours.crop_px} px; choose the same --experiment.data.frames and .crop-px."
        )
