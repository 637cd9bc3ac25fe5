"""Batch normalisation over the global batch, so that results do not depend on how many workers share it."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)


def synchronized(model: Model, device: torch.device) -> Model:
    """The model with every batch normalisation over all workers; parameters and their names stay.

    torch's own module does it on GPUs; it refuses CPUs, for which `GlobalBatchNorm` stands in.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, GlobalBatchNorm(child))
        else:
            synchronized(child, device)
    return model


class GlobalBatchNorm(nn.Module):
    """Ioffe & Szegedy's batch normalisation (2015) with mean and variance over the clips of all workers.

    Takes over the parameters and buffers of a BatchNorm2d or BatchNorm3d, under their names. In eval
    mode it is that module.
    """

    def __init__(self, local: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = local.weight, local.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name, buffer in local.named_buffers():
            self.register_buffer(name, buffer)
        self.eps, self.momentum = local.eps, float(local.momentum or 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [N, C, ...] per channel."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        others = [0, *range(2, x.ndim)]
        total = _SumOverWorkers.apply(torch.cat([x.sum(others), x.new_full((1,), x.numel() / x.shape[1])]))
        count, mean = total[-1].detach(), total[:-1] / total[-1]
        shape = (1, -1, *[1] * (x.ndim - 2))
        centred = x - mean.view(shape)
        variance = _SumOverWorkers.apply(centred.square().sum(others)) / count
        self._track(mean.detach(), variance.detach(), float(count))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: float) -> None:
        self.num_batches_tracked += 1
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (variance * count / (count - 1) - self.running_var)


class _SumOverWorkers(torch.autograd.Function):
    """The sum of a tensor over all workers. Each worker's loss depends on every addend, so gradients add up too."""

    @staticmethod
    def forward(_: Any, addend: Tensor) -> Tensor:
        total = addend.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # ty: ignore[incompatible-method-override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
