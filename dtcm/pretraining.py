"""Pre-training on synthetic videos, for a start where there are no weights of Kinetics.

It is an ordinary training, of another experiment on another manifest: the same model and clips, step and loss, but
every video is seen once by each stage. With what it learns the experiment begins.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
from safetensors.torch import load, save

from dtcm.config import DataConfig, Experiment, OptimConfig, sha256
from dtcm.data import synthetic
from dtcm.models.dtcm import DTCM
from dtcm.models.pretrained import head_names

SEED = 0
"""Of the synthetic videos and of their training, so that runs of all seeds share it."""

CLIPS_VALIDATED = 800
"""For every so many clips, but once at least, pre-training is validated at its end on one more video of each class."""


def pretraining(experiment: Experiment) -> Experiment:
    """The experiment that pre-trains for another one; equal for all that differ in data set, seed or schedule alone."""
    data, optim = experiment.data, experiment.optim
    return Experiment(
        recipe="pretraining",
        data=DataConfig(
            dataset="synthetic", frames=data.frames, stride=data.stride, width_px=data.width_px,
            height_px=data.height_px, crop_px=data.crop_px, flip=data.flip,
        ),
        model=replace(experiment.model, init="random"),
        loss=replace(experiment.loss, distill=0.0, teachers=()),
        optim=OptimConfig(
            epochs=1, enhancer_epochs=1, batch=optim.batch, lr=optim.pretrain_lr, schedule="cosine",
            accumulate=optim.accumulate, checkpointing=optim.checkpointing, pretrain_clips=optim.pretrain_clips,
        ),
        seed=SEED,
    )  # fmt: skip


def run_name(experiment: Experiment) -> str:
    """Name of a run of `pretraining`, by all that decides its result: the experiment and the code that draws."""
    return hashlib.sha256((sha256(experiment) + synthetic.digest()).encode()).hexdigest()[:12]


def manifest(clips: int) -> pa.Table:
    """The videos of a pre-training on so many clips, and those to validate it on: what a training must know of them."""
    validated = len(synthetic.ACTIONS) * max(1, clips // CLIPS_VALIDATED)
    code, rows = synthetic.digest(), []
    for number in range(clips + validated):
        address, label = synthetic.address(SEED, number), synthetic.label(number)
        rows.append(
            {
                "video_id": f"{number:09d}",
                "path": address,
                "label": label,
                "class_name": synthetic.ACTIONS[label],
                "subset": "train" if number < clips else "val",
                "frames": synthetic.frame_count(SEED, number),
                "sha256": hashlib.sha256((address + code).encode()).hexdigest(),
            }
        )
    return pa.Table.from_pylist(rows)


def fitted(weights: bytes, model: DTCM, classes: Sequence[str]) -> bytes:
    """Pre-trained weights for a model of other classes.

    A class that the generator has too, by its name, gets the row of the last layer that is the action's; any other
    keeps the model's own.
    """
    given, own = load(weights), model.state_dict()
    known = [(row, synthetic.ACTIONS.index(name)) for row, name in enumerate(classes) if name in synthetic.ACTIONS]
    for name in (f"classifier.{name}" for name in head_names(model.classifier)):
        rows = own[name].clone()
        for row, action in known:
            rows[row] = given[name][action]
        given[name] = rows
    return save(given)
