"""A method with its weights, and in the place of the joint model's enhancer."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from dtcm.enhancement import LEARNED, METHODS
from dtcm.enhancement.kind import KinD
from dtcm.errors import BadInput
from dtcm.models.enhancers import ITERATIONS, Enhanced
from dtcm.models.pretrained import load_pretrained

logger = logging.getLogger(__name__)


class FrozenEnhancer(nn.Module):
    """Brightens by a method that learns nothing and has no curves; the classifier behind it learns alone.

    Its terms of the loss are constants, and `curves` is empty: illumination smoothness is not defined for it.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenEnhancer":
        """Stays in eval mode: training would move the statistics of the method's batch normalisation."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, clip_BCTHW: Tensor, k: int = 1) -> Enhanced:
        """The brightened clip and curves [B, 0, 24, H, W]; every frame is brightened, whatever k.

        Float32 under autocast too, so that a model is tested on what it was trained on.
        """
        batch, colours, _, height, width = clip_BCTHW.shape
        with torch.autocast("cuda" if clip_BCTHW.is_cuda else "cpu", enabled=False):
            enhanced_BCTHW = self.method(clip_BCTHW.float())
        return Enhanced(enhanced_BCTHW, enhanced_BCTHW.new_zeros(batch, 0, colours * ITERATIONS, height, width))


def create(name: str, weights: str = "") -> nn.Module:
    """The method `name`, ready for use; `weights` as for `load_method`. Raises BadInput for what either refuses."""
    check(name, weights)
    return load_method(name, weights)


def load_method(name: str, weights: str = "") -> nn.Module:
    """The method `name`, with its weights where a file is named.

    `weights` is a checkpoint or safetensors file of a learned method, for "kind" also the folder of the authors'
    TensorFlow checkpoints. Raises BadInput for weights that are not the method's or incomplete.
    """
    method = METHODS[name]()
    if weights:
        _load(method, weights)
    return method


def check(name: str, weights: str) -> None:
    """Raises BadInput for an unknown name, and for weights that are missing or not needed."""
    if name not in METHODS:
        raise BadInput(f"There is no enhancement method {name!r}; the names are {', '.join(METHODS)}.")
    if name in LEARNED and not weights:
        raise BadInput(
            f"The enhancement method {name!r} needs its public weights, --experiment.model.enhancer-weights; "
            "docs/enhancement.md says where."
        )
    if weights and name not in LEARNED:
        raise BadInput(f"The enhancement method {name!r} has no weights to load; name no file.")


def _load(method: nn.Module, weights: str) -> None:
    if isinstance(method, KinD) and Path(weights).is_dir():
        return method.load_tensorflow(Path(weights))
    report = load_pretrained(getattr(method, "network", method), weights)
    lacking = report.missing + report.replaced
    if lacking:
        raise BadInput(f"{weights} lacks {len(lacking)} tensors ({lacking[0]}, ...); name the method's own file.")
    logger.info("%s: %d tensors loaded", weights, len(report.loaded))
