"""Learning rates as a pure function of the step: a run that resumes goes on with the rate that it would have had."""

import math

import torch

from dtcm.config import Experiment, total_epochs


def rate_factor(experiment: Experiment, step: int, steps_per_epoch: int) -> float:
    """What the learning rates of a step (from 0) are multiplied by, in [0, 1].

    In two-stage training each stage has its own warm-up and its own cosine: another part begins to learn.
    """
    optim, epochs = experiment.optim, total_epochs(experiment)
    first = epochs - optim.epochs
    before, of_stage = (0, first) if step < first * steps_per_epoch else (first, optim.epochs)
    done, steps = step - before * steps_per_epoch, of_stage * steps_per_epoch
    warmup = min(round(optim.warmup_epochs * steps_per_epoch), steps)
    if done < warmup:
        return (done + 1) / warmup
    if optim.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (done - warmup) / (steps - warmup))) / 2


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's rate to `factor` times its initial one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["initial_lr"]
