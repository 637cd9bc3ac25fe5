"""Supervised contrastive learning (Khosla et al., NeurIPS 2020, Eq. 2): clips of one class near, others apart.

On the input of the classifier's last layer, which every classifier has; the paper's projection network, that is
thrown away after training, is left out. Positives are sought among the clips of all workers, so the loss
does not depend on their number.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.functional import normalize
from torch.nn.modules.conv import _ConvNd


def supervised_contrastive(features_BD: Tensor, labels_B: Tensor, temperature: float) -> Tensor:
    """The mean over this worker's clips i of -1/|P(i)| Σ_{p in P(i)} log(exp(z_i z_p/τ) / Σ_{a≠i} exp(z_i z_a/τ)).

    z are features of length 1, P(i) the other clips of i's class, a all other clips, both of all workers. A clip
    without a positive counts 0.
    """
    z_BD = normalize(features_BD.float(), dim=1)
    all_ND, labels_N, own_B = _gathered(z_BD, labels_B)
    others_BN = torch.arange(len(all_ND), device=own_B.device) != own_B[:, None]
    similarity_BN = (z_BD @ all_ND.T / temperature).masked_fill(~(others_BN & (labels_N >= 0)), -torch.inf)
    positives_BN = others_BN & (labels_N == labels_B[:, None])
    log_p_BN = similarity_BN - similarity_BN.logsumexp(dim=1, keepdim=True)
    sums_B = log_p_BN.masked_fill(~positives_BN, 0).sum(dim=1)
    return -(sums_B / positives_BN.sum(dim=1).clamp(min=1)).mean()


@contextmanager
def head_input(classifier: nn.Module, batch: int) -> Generator[list[Tensor]]:
    """While the body runs the classifier on so many clips, collect what its last layer is given, [batch, D].

    Averaged over time, space and segments where that layer sees more than one vector of a clip.
    """
    layer, found = head(classifier), []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if x.ndim > 2:
            x = x.flatten(2).mean(dim=2) if isinstance(layer, _ConvNd) else x.flatten(1, -2).mean(dim=1)
        found.append(x.unflatten(0, (batch, -1)).mean(dim=1))

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def head(classifier: nn.Module) -> nn.Module:
    """The last linear or convolutional layer of a classifier, which gives the logits; of two streams the second's."""
    return [module for module in classifier.modules() if isinstance(module, nn.Linear | _ConvNd)][-1]


def _gathered(z_BD: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features and labels of all workers, and the rows of this worker's; labels of rows that are empty are -1.

    Each worker puts its rows into a table of zeros and the tables are added up, with gradients: workers with
    different numbers of clips need no other way.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return z_BD, labels_B, torch.arange(len(z_BD), device=z_BD.device)
    most = torch.tensor([len(z_BD)], device=z_BD.device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    rows = int(most)
    own_B = dist.get_rank() * rows + torch.arange(len(z_BD), device=z_BD.device)
    table_ND = z_BD.new_zeros(rows * dist.get_world_size(), z_BD.shape[1]).index_copy(0, own_B, z_BD)
    labels_N = labels_B.new_zeros(len(table_ND)).index_copy(0, own_B, labels_B + 1)
    dist.all_reduce(labels_N)
    return all_reduce(table_ND), labels_N - 1, own_B
