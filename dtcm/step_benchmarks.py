"""What a step of joint training costs, in time and memory, beside the classifier's own and beside Zero-DCE's."""

import copy
import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dtcm.benchmarks import medians_s
from dtcm.canary import choose
from dtcm.config import DataConfig, Experiment, LossConfig, ModelConfig, OptimConfig
from dtcm.costs import count, training_macs
from dtcm.errors import BadInput
from dtcm.execution import PLAIN, Execution, autocast, prepared
from dtcm.models.dtcm import DTCM, build, to_model_input
from dtcm.step import make_optimizer, train_step

CLASSES = 11
"""Of ARID."""


class StepCosts(NamedTuple):
    """A joint step against the classifier's own, on the same clips."""

    over_classifier: float
    """Time of the joint step over the classifier's."""
    by_forward: float
    """What the multiply-accumulates of both forward passes make of that ratio."""
    by_operations: float
    """What those of both steps do: the classifier's first layer needs a gradient of its input in the joint one only."""
    clips_per_s: float
    """Of joint training."""
    share_of_peak: float
    """Operations of the joint step over those of a product of matrices in that time."""
    why: str
    """How both steps are computed, and why."""


def step_costs(classifier: str, frames: int, size: int, batch: int, device: torch.device, rounds: int) -> StepCosts:
    """Both steps in turn within each round, so that other load on the machine meets both; medians are compared."""
    experiment = _experiment(ModelConfig(classifier=classifier), frames, size, batch)
    model = build(experiment.model, CLASSES, frames, size)
    shape = (1, 3, frames, size, size)
    joint_macs, own_macs = training_macs(model, shape), training_macs(model.classifier, shape)
    choice = choose(model, experiment, device)
    steps = [
        _joint_step(model, experiment, device, choice.execution),
        _bare_step(model, experiment, device, choice.execution),
    ]
    joint_s, own_s = medians_s(steps, rounds, device.type)
    return StepCosts(
        over_classifier=joint_s / own_s,
        by_forward=count(model, shape).macs / count(model.classifier, shape).macs,
        by_operations=joint_macs / own_macs,
        clips_per_s=batch / joint_s,
        share_of_peak=2 * joint_macs * batch / joint_s / matmul_peak(device, choice.execution),
        why=choice.why,
    )


def memory_ratios(ks: Sequence[int], classifier: str, frames: int, size: int, device: torch.device) -> dict[int, float]:
    """Most that a joint step of one clip with the light enhancer allocates at each k, over the same with Zero-DCE."""

    def peak(enhancer: str, k: int) -> int:
        experiment = _experiment(ModelConfig(enhancer=enhancer, classifier=classifier, k=k), frames, size, batch=1)
        step = _joint_step(build(experiment.model, CLASSES, frames, size), experiment, device, PLAIN)
        step()  # the optimizer's moments are there from now on
        return peak_bytes(step, device)

    base = peak("zero-dce", 1)
    return {k: peak("light", k) / base for k in ks}


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Most bytes that tensors take while the call runs, beyond those that were there before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results = profiler.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    allocated = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        most = max(most, allocated)
    return most


def largest_batch(classifier: str, frames: int, size: int, device: torch.device) -> int:
    """The largest power of two of clips that a joint step has memory for on this GPU, in bfloat16."""
    batch = 1
    while _fits(classifier, frames, size, 2 * batch, device):
        batch *= 2
    return batch


def largest_step_costs(
    classifier: str, frames: int, size: int, device: torch.device, rounds: int
) -> tuple[int, StepCosts]:
    """`step_costs` of the largest batch that a GPU has memory for, and that batch."""
    batch = largest_batch(classifier, frames, size, device)
    while True:
        try:
            return batch, step_costs(classifier, frames, size, batch, device, rounds)
        except (RuntimeError, BadInput):  # both steps' models and moments are there at once
            if batch == 1:
                raise
        free(device)
        batch //= 2


def _fits(classifier: str, frames: int, size: int, batch: int, device: torch.device) -> bool:
    """Whether two joint steps of so many clips end well. Memory that is lacking is an error of many names on a GPU."""
    experiment = _experiment(ModelConfig(classifier=classifier), frames, size, batch)
    model = build(experiment.model, CLASSES, frames, size)
    try:
        step = _joint_step(model, experiment, device, Execution("bf16", "channels-last"))
        step()
        step()
    except RuntimeError:
        return False
    finally:
        free(device)
    return True


def free(device: torch.device) -> None:
    """Give a GPU's unused memory back, also what models hold that hold themselves."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def matmul_peak(device: torch.device, execution: Execution) -> float:
    """Operations per second of a product of square matrices in the arithmetic of the steps' convolutions."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if execution.precision == "bf16" else torch.float32
    a, b = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    try:
        (seconds,) = medians_s([lambda: a @ b], 10, device.type)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 / seconds


def _experiment(model: ModelConfig, frames: int, size: int, batch: int) -> Experiment:
    return Experiment(data=DataConfig(frames=frames, crop_px=size), model=model, optim=OptimConfig(batch=batch))


def _batch(experiment: Experiment, device: torch.device) -> tuple[Tensor, Tensor]:
    data, batch = experiment.data, experiment.optim.batch
    clips = torch.randint(0, 64, (batch, data.frames, data.crop_px, data.crop_px, 3), dtype=torch.uint8)
    return clips.to(device), torch.arange(batch, device=device) % CLASSES


def _joint_step(
    model: DTCM, experiment: Experiment, device: torch.device, execution: Execution
) -> Callable[[], object]:
    model = prepared(copy.deepcopy(model).to(device).train(), execution)
    optimizer, batch = make_optimizer(model, experiment.optim), _batch(experiment, device)
    return lambda: train_step(model, optimizer, *batch, LossConfig(), execution=execution)


def _bare_step(model: DTCM, experiment: Experiment, device: torch.device, execution: Execution) -> Callable[[], object]:
    """The classifier trained by cross-entropy as anyone would."""
    model = prepared(copy.deepcopy(model).to(device).train(), execution)
    if execution.compile:
        model.classifier.compile(dynamic=False)
    classifier, (clips, labels) = model.classifier, _batch(experiment, device)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=experiment.optim.lr)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, execution):
            logits = classifier(to_model_input(clips, device))
        loss = cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
