"""Less memory for more time: activations that are computed again in the backward pass (Chen et al., 2016).

torch calls it activation or gradient checkpointing; `dtcm.checkpoint` is another matter.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dtcm.models.dtcm import DTCM

SEQUENCES = (nn.Sequential, nn.ModuleList)


def recompute(model: DTCM) -> None:
    """From now on keep only the inputs of the enhancer and of the classifier's blocks, and compute the rest again.

    Gradients, batch statistics and random masks are those without it.
    """
    for block in [model.enhancer, *blocks(model.classifier)]:
        block.forward = partial(_forward, block, block.forward)


def blocks(classifier: nn.Module) -> list[nn.Module]:
    """The outermost modules that have parts and stand in a sequence, such as residual blocks.

    Where there are none: the modules with parts that the classifier itself is made of.
    """
    return list(_in_sequences(classifier)) or [child for child in classifier.children() if _has_parts(child)]


def _in_sequences(module: nn.Module) -> Generator[nn.Module]:
    for child in module.children():
        if isinstance(module, SEQUENCES) and not isinstance(child, SEQUENCES) and _has_parts(child):
            yield child
        else:
            yield from _in_sequences(child)


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, block), **kwargs)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _buffers_kept(block)


@contextmanager
def _buffers_kept(block: nn.Module) -> Generator[None]:
    """Batch statistics have taken in these clips already."""
    before = [buffer.clone() for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(block.buffers(), before, strict=True):
            buffer.data.copy_(value)  # .data: autograd holds batch statistics too, but never reads them in training
