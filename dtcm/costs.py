"""Parameters and operations of a model, counted without computing anything (Tables III-V, IX).

The paper's "GFLOPs" are multiply-accumulates as thop 0.0.31 counts them
(https://github.com/Lyken17/pytorch-OpCounter); `paper_ops` reproduces them to the unit.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


class Costs(NamedTuple):
    """What a model costs for one input."""

    params: int
    """Parameters, trained or frozen."""
    macs: int
    """Multiply-accumulates of convolutions, linear layers and attention."""
    paper_ops: int
    """The paper's convention: macs, 1 per output element of a convolution with bias, 2 per element of a
    normalisation, 1 per output element of average pooling, window + 1 where it is adaptive. Activations,
    max-pooling, layer normalisation, losses and the enhancement curve count nothing. Group normalisation,
    which thop 0.0.31 passes over, counts as batch normalisation does."""


def count(module: nn.Module, *shapes: Sequence[int], **kwargs: Any) -> Costs:
    """Costs of module(*inputs, **kwargs) for inputs of the given shapes, batch included.

    Runs on the meta device with the module untouched, so it needs neither time nor memory for the
    computation: count(model, (1, 3, 64, 112, 112)), count(enhancer, (1, 3, 64, 112, 112), k=1).
    """
    with torch.no_grad():
        macs, extras = _forward(module, shapes, kwargs, _extra_ops)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Costs(params, macs, macs + extras)


def training_macs(module: nn.Module, *shapes: Sequence[int], **kwargs: Any) -> int:
    """Multiply-accumulates of a training step: forward, and for each layer as many for either gradient.

    A layer that is given the input itself, as the first one of a network, needs no gradient of it. What comes before
    a network in joint training therefore costs more than its own operations: the network's first layer needs one then.
    """
    macs, spared = _forward(module, shapes, kwargs, _spared_macs)
    return 3 * macs - spared


def _forward(
    module: nn.Module,
    shapes: Sequence[Sequence[int]],
    kwargs: dict[str, Any],
    record: Callable[[nn.Module, tuple[Any, ...], Any], int],
) -> tuple[int, int]:
    """Multiply-accumulates of module(*inputs, **kwargs), and the sum of what `record` says of its layers."""
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    on_meta = {
        name: torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)
        for name, tensor in tensors.items()
    }
    recorded: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, args, output: recorded.append(record(layer, args, output)))
        for layer in module.modules()
    ]
    try:
        with FlopCounterMode(display=False) as flops:
            functional_call(module, on_meta, inputs, kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return flops.get_total_flops() // 2, sum(recorded)


def _spared_macs(layer: nn.Module, args: tuple[Any, ...], output: Any) -> int:
    """Multiply-accumulates of the gradient of a layer's input, if nothing before the layer needs it."""
    match layer:
        case nn.Conv2d() | nn.Conv3d() | nn.Linear() if not args[0].requires_grad:
            return output.numel() * layer.weight[0].numel()
        case _:
            return 0


def _extra_ops(layer: nn.Module, args: tuple[Any, ...], output: Any) -> int:
    """What the paper's convention adds to a layer's multiply-accumulates."""
    match layer:
        case nn.Conv2d() | nn.Conv3d():
            return output.numel() if layer.bias is not None else 0
        case nn.BatchNorm2d() | nn.BatchNorm3d() | nn.GroupNorm():
            return 2 * output.numel()
        case nn.AvgPool2d() | nn.AvgPool3d():
            return output.numel()
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveAvgPool3d():
            sides = zip(args[0].shape[2:], output.shape[2:], strict=True)
            window = math.prod(side // out_side for side, out_side in sides)
            return (window + 1) * output.numel()
        case _:
            return 0
