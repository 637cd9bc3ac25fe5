"""The canary of a training's start: the fastest way to compute a step that this torch, cuDNN and GPU compute rightly.

First every shape of Conv3d in the model, forward and backward, against exact float32; then a few real steps on random
clips, on copies of the model, so that a run's weights and random numbers stay as they are. On a CPU "auto" is the
plain way and nothing is measured.
"""

import copy
import gc
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d
from torch.nn.modules.dropout import _DropoutNd

from dtcm.config import Experiment, total_epochs
from dtcm.errors import BadInput
from dtcm.execution import PLAIN, Execution, autocast, exact_float32, prepared
from dtcm.models.dtcm import DTCM
from dtcm.options import compiles
from dtcm.recompute import recompute
from dtcm.step import make_optimizer, set_trained, train_step, trained_part

CONV_ERROR = 0.02
"""Largest |found - float32| / |float32| (2-norms) of a convolution's output and gradients. bfloat16 keeps 8 bits, a
rounding of at most 0.004; what is wrong is off by half and more."""
STEP_FACTOR = {"total": 1.1, "grad_norm": 3.0}
"""By what factor a first step's loss and gradient norm may differ from the plain way's. With few clips the norm differs
by half from rounding alone, as batch statistics do; what is wrong in a convolution is seen by CONV_ERROR."""
STEPS = 5
"""Timed steps, behind one that warms up, or compiles."""

Version = tuple[int, ...]

KNOWN_BAD: dict[str, Callable[[Version, Execution], bool]] = {
    "contiguous bfloat16 Conv3d goes without cuDNN where that is 9.8 to 9.14, slowly and in three times the memory "
    "(pytorch/pytorch#163539, #166643)": (
        lambda cudnn, way: way.memory_format == "contiguous" and (9, 8) <= cudnn < (9, 15)
    ),
}
"""What is known of bf16 by the version of cuDNN, with torch 2.10 and later on NVIDIA's GPUs; each forbids a way."""


NOTHING_TO_CHOOSE = f"{PLAIN}: the plain way"
"""Why, where there is one way only."""


class Choice(NamedTuple):
    """The way to compute the steps of a run, and in one line why."""

    execution: Execution
    why: str


class _Convolution(NamedTuple):
    """What decides how a convolution is computed: shapes of input and weight, then conv3d's own arguments."""

    input: torch.Size
    weight: torch.Size
    stride: Any
    padding: Any
    dilation: Any
    groups: int


def choose(
    model: DTCM, experiment: Experiment, device: torch.device, workers: int = 1, before: Execution | None = None
) -> Choice:
    """The fastest right way that the experiment allows; the model itself is not touched.

    Args:
        model: the run's, before it is tied to other workers.
        experiment: "auto" in optim.precision, memory_format and compile is decided here.
        device: where the steps will be computed.
        workers: the batch is shared among them.
        before: what a resumed run began with, which it keeps if that is still right here.

    Raises BadInput if no allowed way is right.
    """
    if before is not None:
        before = replace(before, compile=before.compile and compiles(experiment, workers))
        if not (wrong := _wrong(model, experiment, device, workers, before)):
            return Choice(before, NOTHING_TO_CHOOSE if before == PLAIN else f"{before}: as the run began")
        fresh = choose(model, experiment, device, workers)
        return Choice(fresh.execution, f"{fresh.why}; the run began with {before}, refused now: {wrong}")
    ways, optim = _ways(experiment, device), experiment.optim
    if ways == [PLAIN] and (device.type == "cpu" or optim.compile != "auto"):
        return Choice(PLAIN, NOTHING_TO_CHOOSE)
    steps: dict[Execution, _Steps] = {}
    refused: dict[Execution, str] = {}

    def attempt(way: Execution) -> None:
        try:
            if wrong := _wrong(model, experiment, device, workers, way):
                raise RuntimeError(wrong)
            found = _steps(model, experiment, device, workers, way)
            _check(found, steps.get(PLAIN))
            steps[way] = found
        except Exception as error:  # too little memory, and whatever a compiler raises that fails
            refused[way] = next(iter(str(error).splitlines()), type(error).__name__)
        finally:
            if device.type == "cuda":  # what was compiled or recomputes holds itself until it is collected
                gc.collect()
                torch.cuda.empty_cache()

    for way in dict.fromkeys([PLAIN, *ways]):  # the plain way first: the others are held against it
        attempt(way)
    may_compile = device.type == "cuda" and optim.compile == "auto" and compiles(experiment, workers)
    if may_compile and (best := _fastest(steps, ways)):  # the best one only: to compile takes minutes
        ways.append(replace(best, compile=True))
        attempt(ways[-1])
    said = [f"{way} {1000 * found.seconds:.0f} ms" for way, found in steps.items()]
    said = "; ".join([*said, *(f"{way} refused: {reason}" for way, reason in refused.items())])
    if (best := _fastest(steps, ways)) is None:
        raise BadInput(f"No way that --experiment.optim.precision and the like allow is right here: {said}.")
    return Choice(best, f"{best}: the fastest right step of those allowed ({said})")


class _Steps(NamedTuple):
    """A few steps on a copy of the model."""

    first: dict[str, float]
    """What the first returned."""
    seconds: float
    """Median of those behind it."""


def _ways(experiment: Experiment, device: torch.device) -> list[Execution]:
    """What the experiment allows; where the compiler is left to be decided, without it."""
    optim, auto = experiment.optim, slice(None) if device.type == "cuda" else slice(1)
    precisions = ("fp32", "bf16")[auto] if optim.precision == "auto" else (optim.precision,)
    formats = ("contiguous", "channels-last")[auto] if optim.memory_format == "auto" else (optim.memory_format,)
    return [Execution(p, m, optim.compile == "on") for p in precisions for m in formats]


def _fastest(steps: dict[Execution, _Steps], ways: list[Execution]) -> Execution | None:
    return min((way for way in steps if way in ways), key=lambda way: steps[way].seconds, default=None)


def _wrong(model: DTCM, experiment: Experiment, device: torch.device, workers: int, way: Execution) -> str:
    """Why this way must not be gone, by what is known of versions and by the model's convolutions; "" if it may."""
    if way.precision == "bf16" and device.type == "cuda" and torch.version.cuda:
        for fact, applies in KNOWN_BAD.items():
            if applies(cudnn_version(), way):
                return fact
    if device.type == "cpu" and (way.precision, way.memory_format) == (PLAIN.precision, PLAIN.memory_format):
        return ""
    for convolution in _convolutions(model, experiment, workers):
        error = _error(convolution, device, way)
        if not error <= CONV_ERROR:
            return f"Conv3d of {tuple(convolution.input)} by {tuple(convolution.weight)} is off by {error:.2g}"
    return ""


def cudnn_version() -> Version:
    """(9, 10) for cuDNN 9.10.2; (0, 0) where there is none."""
    number = torch.backends.cudnn.version() or 0
    return (number // 10_000, number // 100 % 100) if number >= 90_000 else (number // 1000, number // 100 % 10)


def _convolutions(model: DTCM, experiment: Experiment, workers: int) -> list[_Convolution]:
    """Every Conv3d that a step computes, each shape once; found without computing anything."""
    data, found = experiment.data, []
    clips = -(-experiment.optim.batch // (workers * experiment.optim.accumulate))
    on_meta = copy.deepcopy(model).to("meta").train()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv3d)
        arguments = layer.stride, layer.padding, layer.dilation, layer.groups
        found.append(_Convolution(inputs[0].shape, layer.weight.shape, *arguments))

    for layer in on_meta.modules():
        if isinstance(layer, nn.Conv3d):
            layer.register_forward_pre_hook(note)
    on_meta(torch.empty(clips, 3, data.frames, data.crop_px, data.crop_px, device="meta"))
    return list(dict.fromkeys(found))


def _error(convolution: _Convolution, device: torch.device, way: Execution) -> float:
    """The largest relative error of a convolution's output and of its gradients, on random numbers."""
    generator = torch.Generator(device).manual_seed(0)
    x, weight = (
        torch.randn(shape, device=device, generator=generator, requires_grad=True)
        for shape in (convolution.input, convolution.weight)
    )
    gradient = None
    results = []
    for one, arithmetic in ((PLAIN, exact_float32()), (way, nullcontext())):
        layout = torch.channels_last_3d if one.memory_format == "channels-last" else torch.contiguous_format
        with arithmetic:
            with autocast(device, one):
                y = conv3d(x.contiguous(memory_format=layout), weight, None, *convolution[2:])
            if gradient is None:
                gradient = torch.randn(y.shape, device=device, generator=generator)
            results.append([y.detach().float(), *torch.autograd.grad(y, (x, weight), gradient.to(y.dtype))])
    errors = [float((found - exact).norm() / exact.norm()) for exact, found in zip(*results, strict=True)]
    return math.nan if any(map(math.isnan, errors)) else max(errors)


def _steps(model: DTCM, experiment: Experiment, device: torch.device, workers: int, way: Execution) -> _Steps:
    """Steps of the experiment's last stage on random dark clips; random numbers of the run stay as they are."""
    data, optim = experiment.data, experiment.optim
    trial = copy.deepcopy(model).to(device)
    for layer in trial.modules():
        if isinstance(layer, _DropoutNd):  # its masks, and with them loss and gradient, differ from way to way
            layer.p = 0.0
    if optim.checkpointing:
        recompute(trial)
    optimizer, trained = make_optimizer(trial, optim), trained_part(experiment, total_epochs(experiment) - 1)
    set_trained(prepared(trial, way), trained)
    loss = replace(experiment.loss, supcon=0.0, distill=0.0)  # other workers and models have no part in this
    shape = (-(-optim.batch // workers), data.frames, data.crop_px, data.crop_px, 3)
    clips = torch.randint(0, 64, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.zeros(len(clips), dtype=torch.long, device=device)
    clip_norm = optim.clip_norm or math.inf
    step = partial(train_step, trained=trained, accumulate=optim.accumulate, clip_norm=clip_norm, execution=way)
    first: dict[str, float] = {}
    times_s = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for _ in range(1 + STEPS):
            start_s = time.perf_counter()
            parts = step(trial, optimizer, clips, labels, loss)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times_s.append(time.perf_counter() - start_s)
            first = first or parts
    return _Steps(first, statistics.median(times_s[1:]))


def _check(found: _Steps, plain: _Steps | None) -> None:
    """Raise RuntimeError for a first step that is not finite, or not the plain way's but for rounding."""
    for name, factor in STEP_FACTOR.items():
        value = found.first[name]
        if not math.isfinite(value):
            raise RuntimeError(f"the first step's {name} is {value}")
        expected = plain.first[name] if plain else value
        if not expected / factor <= value <= expected * factor:
            raise RuntimeError(f"the first step's {name} is {value:.4g}, plainly computed {expected:.4g}")
