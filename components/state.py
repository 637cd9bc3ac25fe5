"""The state of a training in a worker: begun or resumed from a checkpoint's files, and packed into such files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import torch
from ray.train.torch import get_device
from torch import nn

from components.execution import agreed
from components.runs import Run
from dtcm import checkpoint, ema
from dtcm.execution import PLAIN, Execution, prepared
from dtcm.models.batchnorm import synchronized
from dtcm.models.dtcm import DTCM, build
from dtcm.recompute import recompute
from dtcm.step import make_optimizer

INITIAL = "initial.safetensors"
"""In the run folder: weights of another training to begin with, see `dtcm.checkpoint.unpack_initial`."""


@dataclass
class Progress:
    """How far a training is; stored with each checkpoint."""

    step: int = 0
    """Steps done."""
    best_step: int = 0
    """Steps done at the end of the best epoch."""
    best_score: tuple[float, ...] = (-1.0,)
    """Of the best epoch: accuracy on the validation part, then minus its cross-entropy."""


@dataclass
class State:
    """All that a step changes."""

    model: DTCM
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    execution: Execution = PLAIN
    """How its steps are computed."""
    progress: Progress = field(default_factory=Progress)
    best: bytes | None = None
    """The weights to use of the best epoch so far."""

    @property
    def used(self) -> nn.Module:
        """What is validated and tested: the average where there is one."""
        return self.model if self.average is None else self.average

    def choose(self, scores: Mapping[str, float]) -> None:
        """Make the epoch the best one if it is, by its validation scores; without any, because it is the latest."""
        score = (scores["top1"], -scores["cross_entropy"]) if scores else (float(self.progress.step),)
        if score > self.progress.best_score:
            self.progress.best_step, self.progress.best_score = self.progress.step, score

    def pack(self) -> dict[str, bytes]:
        """The files of a checkpoint of this moment; they stay as they are while training goes on."""
        is_best = self.progress.best_step == self.progress.step
        best = None if is_best else self.best
        files = checkpoint.pack(self.model, self.optimizer, asdict(self.progress), self.average, best)
        if is_best:
            self.best = checkpoint.weights_to_use(files)
        return files


def begin(run: Run, num_classes: int, world: int, files: Mapping[str, bytes] | None) -> State:
    """The state on this worker's device: of a checkpoint's files, or a new one. Every rank calls it.

    Raises RuntimeError if names or shapes do not fit.
    """
    experiment, device = run.experiment, get_device()
    model = build(experiment.model, num_classes, experiment.data.frames, experiment.data.crop_px)
    execution = agreed(run, model, device)
    if world > 1:
        model = synchronized(model, device)
    model.to(device)
    if files is None and run.folder.has(INITIAL):
        checkpoint.unpack_initial(run.folder.read(INITIAL), model)
    average = ema.averaged(model) if experiment.optim.ema else None
    if average is not None:
        prepared(average, replace(execution, compile=False))
    if experiment.optim.checkpointing:
        recompute(model)
    prepared(model, execution)
    state = State(model, average, make_optimizer(model, experiment.optim), execution)
    if files is not None:
        values = checkpoint.unpack(files, model, state.optimizer, average)
        state.progress = Progress(values["step"], values["best_step"], tuple(values["best_score"]))
        state.best = checkpoint.best_weights(files) if state.progress.best_step else None
    return state
