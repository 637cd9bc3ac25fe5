"""The joint model: an enhancer, then an action classifier on its output (Fig. 2)."""

import logging
from typing import NamedTuple

from torch import Tensor, nn

from dtcm.config import ModelConfig
from dtcm.errors import BadInput
from dtcm.models.catalog import create_classifier, create_enhancer
from dtcm.models.enhancers import Enhancer
from dtcm.models.pretrained import load_pretrained

logger = logging.getLogger(__name__)


class Output(NamedTuple):
    """What the joint model returns; all float32 under autocast too."""

    logits: Tensor
    """[B, num_classes]."""
    enhanced: Tensor
    """The brightened clip, [B, 3, T, H, W] in [0, 1]."""
    curves: Tensor
    """R of the keyframes, [B, ceil(T/k), 24, H, W] in [-1, 1]."""


class DTCM(nn.Module):
    """Dark Temporal Consistency Model: brighten a clip, classify what comes out, train both as one."""

    def __init__(self, enhancer: Enhancer, classifier: nn.Module, k: int) -> None:
        super().__init__()
        if k < 1:
            raise BadInput(f"k is the number of frames that share a curve: choose 1 or more, not {k}.")
        self.enhancer = enhancer
        self.classifier = classifier
        self.k = k

    def forward(self, clip_BCTHW: Tensor) -> Output:
        """Brighten and classify dark RGB clips in [0, 1].

        Under bfloat16 autocast only convolutions and linear layers run in bfloat16.
        """
        enhanced_BCTHW, curves_BNCHW = self.enhancer(clip_BCTHW, self.k)
        logits = self.classifier(enhanced_BCTHW)
        return Output(logits.to(enhanced_BCTHW.dtype), enhanced_BCTHW, curves_BNCHW)


def build(config: ModelConfig, num_classes: int, frames: int, size: int) -> DTCM:
    """The joint model that `config` names for clips [B, 3, frames, size, size], with its weight files loaded.

    What each file gave and left open goes to the log. Raises BadInput for a name, k, clip shape or file
    that cannot be used.
    """
    enhancer = create_enhancer(config.enhancer)
    classifier = create_classifier(config.classifier, num_classes, frames, size)
    for module, path in ((enhancer, config.enhancer_weights), (classifier, config.classifier_weights)):
        if path:
            logger.info("%s", load_pretrained(module, path))
    return DTCM(enhancer, classifier, config.k)
