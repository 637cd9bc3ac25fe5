"""A trained model as a folder that stands alone: weights, experiment and class names, without pickle."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from dtcm import config
from dtcm.checkpoint import unpack_weights
from dtcm.config import Experiment
from dtcm.errors import BadInput
from dtcm.models import DTCM
from dtcm.models.dtcm import build
from dtcm.step import Prediction, predict

WEIGHTS, EXPERIMENT, CLASSES = FILES = ("model.safetensors", "config.json", "classes.json")


@dataclass(frozen=True)
class Bundle:
    """A model ready to predict, in eval mode."""

    model: DTCM
    experiment: Experiment
    classes: tuple[str, ...]

    def predict(self, clips_BTHWC: NDArray[np.uint8]) -> Prediction:
        """Logits and inconsistency of uint8 RGB clips [B, T, crop, crop, 3]."""
        return predict(self.model, torch.tensor(clips_BTHWC))


def bundle_files(weights: bytes, experiment: Experiment, classes: tuple[str, ...]) -> dict[str, bytes]:
    """The files of a bundle, by name."""
    return {
        WEIGHTS: weights,
        EXPERIMENT: config.to_json(experiment).encode(),
        CLASSES: json.dumps(list(classes), ensure_ascii=False).encode(),
    }


def load_bundle(folder: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """The model of a folder that holds the files of `bundle_files`. Raises FileNotFoundError."""
    folder = Path(folder)
    return bundle_from_files({name: (folder / name).read_bytes() for name in FILES}, device)


def bundle_from_files(files: dict[str, bytes], device: str | torch.device = "cpu") -> Bundle:
    """The model of the files of `bundle_files`. Raises BadInput for weights in another format, such as a pickle."""
    experiment = config.from_json(files[EXPERIMENT].decode())
    classes = tuple(json.loads(files[CLASSES]))
    # Starting weights were part of training; here the trained ones replace them.
    bare = config.with_overrides(experiment, {"model.enhancer_weights": "", "model.classifier_weights": ""})
    model = build(bare.model, len(classes), experiment.data.frames, experiment.data.crop_px)
    try:
        unpack_weights(files[WEIGHTS], model)
    except SafetensorError as error:
        raise BadInput(
            f"{WEIGHTS} holds no safetensors ({error}); other formats can run code and are not read."
        ) from error
    return Bundle(model.eval().to(device), experiment, classes)
