"""How a step is computed: in which precision and memory layout, compiled or not. `dtcm.canary` chooses.

The model, its parameters and its checkpoints are the same in every way; only rounding and speed differ.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dtcm.models.dtcm import DTCM


@dataclass(frozen=True)
class Execution:
    """One way to compute a step."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: convolutions and linear layers in bfloat16 by autocast, weights and the rest in float32. fp32: all in
    float32, of which GPUs since Ampere take the convolutions in TF32, as torch does by default."""
    memory_format: Literal["contiguous", "channels-last"] = "contiguous"
    """channels-last: the classifier is given its clips with the channels of a pixel side by side."""
    compile: bool = False
    """Whether torch.compile makes kernels for the model."""

    def __str__(self) -> str:
        """As a person says it."""
        return f"{self.precision} {self.memory_format}{' compiled' if self.compile else ''}"


PLAIN = Execution()
"""What a CPU does: float32, as the layers are written."""


def prepared(model: DTCM, execution: Execution) -> DTCM:
    """The model, from now on computed in this way within `autocast` of it. Call it once, before DDP."""
    if execution.memory_format == "channels-last":
        # Its input alone: layers hand the layout on, and weights stay as checkpoints and optimisers know them.
        model.classifier.register_forward_pre_hook(_channels_last)
    if execution.compile:
        model.compile(dynamic=False)
    return model


def autocast(device: torch.device, execution: Execution) -> torch.autocast:
    """bfloat16 for the layers that stand it, where the execution says so."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=execution.precision == "bf16")


@contextmanager
def exact_float32() -> Generator[None]:
    """Convolutions in float32 to the last digit, not in TF32, whatever the GPU."""
    cudnn: Any = torch.backends.cudnn
    settings = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    with cudnn.flags(**settings, allow_tf32=False):
        yield


def _channels_last(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return inputs[0].contiguous(memory_format=torch.channels_last_3d), *inputs[1:]
