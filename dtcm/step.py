"""One step of training, and prediction: what every loop of this project runs, distributed or not."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from dtcm.config import Experiment, LossConfig, OptimConfig
from dtcm.contrast import head_input, supervised_contrastive
from dtcm.distill import Teachers, distillation
from dtcm.execution import PLAIN, Execution, autocast, exact_float32
from dtcm.losses import JointLoss, Trained, joint, spatio_temporal_consistency
from dtcm.models.dtcm import DTCM, to_model_input


class Prediction(NamedTuple):
    """What a model says of a batch of clips, on the CPU."""

    logits: Tensor
    """[B, C], float32."""
    inconsistency: Tensor
    """[B], L_STC of each clip (Eq. 4), the spatio-temporal inconsistency of Table XI."""


def trained_part(experiment: Experiment, epoch: int) -> Trained:
    """Which parts of the model an epoch (from 0) trains, by the setting (Table VI)."""
    if experiment.loss.setting == "two-stage":
        return "enhancer" if epoch < experiment.optim.enhancer_epochs else "classifier"
    return "classifier" if experiment.loss.setting == "frozen" else "both"


def set_trained(model: DTCM, trained: Trained) -> None:
    """Put the parts that are trained into training mode; the others rest, batch statistics included."""
    model.train()
    for name in ("enhancer", "classifier"):
        model.get_submodule(name).train(trained in (name, "both"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained in (name.partition(".")[0], "both") and name not in model.frozen)


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over two groups, the enhancer's parameters and the classifier's, each with its rate.

    The model is where it will be trained: on a GPU one kernel updates all parameters.
    """
    enhancer_lr = config.lr if config.enhancer_lr is None else config.enhancer_lr
    groups = [
        {"params": list(model.get_submodule(name).parameters()), "lr": lr, "initial_lr": lr}
        for name, lr in (("enhancer", enhancer_lr), ("classifier", config.lr))
    ]
    on_gpu = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=on_gpu or None)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    clips_BTHWC: Tensor,
    labels_B: Tensor,
    config: LossConfig,
    share: float = 1.0,
    trained: Trained = "both",
    accumulate: int = 1,
    clip_norm: float = 0.0,
    teachers: Teachers | None = None,
    execution: Execution = PLAIN,
) -> dict[str, float]:
    """One step of Eq. 7 on uint8 clips; returns the total and every part, unweighted.

    Args:
        model: a DTCM in training mode (see `set_trained`), wrapped in DDP or not.
        optimizer: of `make_optimizer`.
        clips_BTHWC: uint8 RGB clips [B, T, H, W, 3] on any device.
        labels_B: class indices [B].
        config: weights and options of the loss.
        share: this worker's clips over its even share of the global batch. DDP averages gradients over
            workers as if each had as many clips; scaling by the share makes that the mean over clips.
        trained: the parts that this step trains.
        accumulate: parts that the clips are computed in, at most B; workers exchange gradients after the last.
        clip_norm: longest norm of the gradient, which is returned too, as grad_norm; 0 for any.
        teachers: needed where the loss distils.
        execution: the way that the model was prepared for (`dtcm.execution.prepared`).
    """
    device = next(model.parameters()).device
    optimizer.zero_grad(set_to_none=True)
    names, values = [], torch.zeros((), device=device)
    parts = zip(clips_BTHWC.tensor_split(accumulate), labels_B.tensor_split(accumulate), strict=True)
    for number, (clips, labels) in enumerate(parts, start=1):
        clip_BCTHW, weight = to_model_input(clips, device), len(labels) / len(labels_B)
        with nullcontext() if number == accumulate else _without_exchange(model):
            loss = _loss(model, clip_BCTHW, labels.to(device, non_blocking=True), config, trained, teachers, execution)
            (loss.total * (share * weight)).backward()
        names = ["total", *loss.parts]
        values = values + weight * torch.stack([loss.total, *loss.parts.values()]).detach().float()
    if clip_norm:
        names.append("grad_norm")
        values = torch.cat([values, clip_grad_norm_(model.parameters(), clip_norm).view(1)])
    optimizer.step()
    return dict(zip(names, values.tolist(), strict=True))


def _loss(
    model: nn.Module,
    clip_BCTHW: Tensor,
    labels_B: Tensor,
    config: LossConfig,
    trained: Trained,
    teachers: Teachers | None,
    execution: Execution,
) -> JointLoss:
    """Eq. 7 and, where the classifier is trained, what is added to it beyond the paper."""
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    contrasts = config.supcon > 0 and trained != "enhancer"
    watch = head_input(bare.get_submodule("classifier"), len(labels_B)) if contrasts else nullcontext([])
    with autocast(clip_BCTHW.device, execution), watch as features:
        output = model(clip_BCTHW)
        taught_BC = teachers(clip_BCTHW) if teachers and trained != "enhancer" else None
    total, parts = joint(output, labels_B, clip_BCTHW, config, trained)
    if taught_BC is not None:
        parts["distill"] = distillation(output.logits, taught_BC, config.distill_temperature)
        total = total + config.distill * parts["distill"]
    if contrasts:
        parts["supcon"] = supervised_contrastive(features[0], labels_B, config.supcon_temperature)
        total = total + config.supcon * parts["supcon"]
    return JointLoss(total, {name: value.detach() for name, value in parts.items()})


def _without_exchange(model: nn.Module) -> AbstractContextManager[Any]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def dry_step(model: nn.Module, experiment: Experiment, clips: int) -> None:
    """Go through a training step without computing anything, for the errors that it would raise.

    The model is moved to the meta device and of no use afterwards.
    """
    data, meta = experiment.data, torch.device("meta")
    clip_BCTHW = torch.empty(clips, 3, data.frames, data.crop_px, data.crop_px, device=meta)
    output = model.to(meta).train()(clip_BCTHW)
    joint(output, torch.zeros(clips, dtype=torch.long, device=meta), clip_BCTHW, experiment.loss)


@torch.inference_mode()
def predict(model: nn.Module, clips_BTHWC: Tensor, execution: Execution = PLAIN) -> Prediction:
    """Logits and inconsistency of uint8 RGB clips [B, T, H, W, 3] by a model in eval mode.

    In float32 unless a training validates by the way that it steps: what a finished model says depends on no GPU.
    """
    clip_BCTHW = to_model_input(clips_BTHWC, next(model.parameters()).device)
    # Not compiled: that would take minutes for the eval mode, and again for a last batch of another size.
    with (
        torch.compiler.set_stance("force_eager"),
        exact_float32() if execution == PLAIN else nullcontext(),
        autocast(clip_BCTHW.device, execution),
    ):
        output = model(clip_BCTHW)
    inconsistency = spatio_temporal_consistency(output.enhanced, clip_BCTHW, reduction="none")
    return Prediction(output.logits.float().cpu(), inconsistency.float().cpu())
