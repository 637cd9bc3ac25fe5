"""A moving average of a model's weights, which often does better than the weights of the last step.

Polyak & Juditsky (1992), exponentially as in TensorFlow's ExponentialMovingAverage with `num_updates`. Batch
statistics are averaged too, so that they fit the averaged weights.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def averaged(model: Model) -> Model:
    """The average to begin with: a copy, in eval mode and without gradients."""
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Take in the weights after step `step` (from 1): average ← d average + (1 - d) weights, d = min(decay, t/(9 + t)).

    Without the second bound the first weights would count for decay^t: 66 % after 420 steps at 0.999.
    """
    d = min(decay, step / (9 + step))
    means, values = list(average.state_dict().values()), list(model.state_dict().values())
    floats = [place for place, mean in enumerate(means) if mean.is_floating_point()]
    # All at once, as torch.optim does: a GPU would wait for as many calls as there are tensors.
    torch._foreach_lerp_([means[place] for place in floats], [values[place] for place in floats], 1 - d)
    for place in set(range(len(means))) - {*floats}:
        means[place].copy_(values[place])
