"""Which options of loss and optimiser can be, and which go together."""

from dtcm.config import Experiment
from dtcm.errors import BadInput


def check_training(experiment: Experiment, workers: int) -> None:
    """Raise BadInput for an option out of its range, and for a batch too small for its parts and workers."""
    model, loss, optim = experiment.model, experiment.loss, experiment.optim
    # By what must hold: the fields, and how to say it.
    rules = [
        (0 <= optim.ema < 1, "optim.ema", "at least 0 and below 1"),
        (optim.warmup_epochs >= 0, "optim.warmup-epochs", "0 or more"),
        (optim.clip_norm >= 0, "optim.clip-norm", "0 or more"),
        (optim.accumulate >= 1, "optim.accumulate", "1 or more"),
        (0 <= loss.label_smoothing < 1, "loss.label-smoothing", "at least 0 and below 1"),
        (0 <= loss.e_min <= loss.e_max <= 1, "loss.e-min", "at least 0 and at most loss.e-max, which is at most 1"),
        (loss.distill >= 0, "loss.distill", "0 or more"),
        (loss.distill_temperature > 0, "loss.distill-temperature", "above 0"),
        (bool(loss.teachers) == (loss.distill > 0), "loss.distill", "above 0 with loss.teachers, and 0 without"),
        (
            optim.compile != "on" or compiles(experiment, workers),
            "optim.compile",
            "auto or off with several workers, optim.checkpointing or loss.supcon",
        ),
        (optim.pretrain_clips >= optim.batch, "optim.pretrain-clips", "optim.batch or more"),
        (optim.pretrain_lr > 0, "optim.pretrain-lr", "above 0"),
        (model.init == "random" or not model.classifier_weights, "model.init", "random with model.classifier-weights"),
        (loss.supcon >= 0, "loss.supcon", "0 or more"),
        (loss.supcon_temperature > 0, "loss.supcon-temperature", "above 0"),
    ]
    for holds, field, wanted in rules:
        if not holds:
            raise BadInput(f"--experiment.{field} must be {wanted}.")
    if optim.accumulate * workers > optim.batch:
        raise BadInput(
            f"A batch of {optim.batch} cannot be computed in {optim.accumulate} parts by {workers} workers; "
            "raise --experiment.optim.batch or lower --experiment.optim.accumulate."
        )


def compiles(experiment: Experiment, workers: int) -> bool:
    """Whether torch.compile may be used: not with what watches or recomputes layers, nor with shared statistics."""
    return workers == 1 and not experiment.optim.checkpointing and not experiment.loss.supcon
