"""The joint model: an enhancer, then an action classifier on its output (Fig. 2)."""

import logging
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dtcm.config import ModelConfig
from dtcm.enhancement import METHODS
from dtcm.errors import BadInput
from dtcm.models.catalog import ENHANCERS, create_classifier, create_enhancer
from dtcm.models.enhancers import Enhancer
from dtcm.models.frozen import FrozenEnhancer, load_method
from dtcm.models.pretrained import load_pretrained

logger = logging.getLogger(__name__)


class Output(NamedTuple):
    """What the joint model returns; all float32 under autocast too."""

    logits: Tensor
    """[B, num_classes]."""
    enhanced: Tensor
    """The brightened clip, [B, 3, T, H, W] in [0, 1]."""
    curves: Tensor
    """R of the keyframes, [B, ceil(T/k), 24, H, W] in [-1, 1]; [B, 0, 24, H, W] from a method without curves."""


class DTCM(nn.Module):
    """Dark Temporal Consistency Model: brighten a clip, classify what comes out, train both as one."""

    def __init__(self, enhancer: Enhancer | FrozenEnhancer, classifier: nn.Module, k: int) -> None:
        super().__init__()
        if k < 1:
            raise BadInput(f"k is the number of frames that share a curve: choose 1 or more, not {k}.")
        self.enhancer = enhancer
        self.classifier = classifier
        self.k = k
        self.frozen = frozenset(name for name, parameter in self.named_parameters() if not parameter.requires_grad)
        """Parameters that are never trained, such as a foundation model's."""

    def forward(self, clip_BCTHW: Tensor) -> Output:
        """Brighten and classify dark RGB clips in [0, 1].

        Under bfloat16 autocast only convolutions and linear layers run in bfloat16.
        """
        enhanced_BCTHW, curves_BNCHW = self.enhancer(clip_BCTHW, self.k)
        logits = self.classifier(enhanced_BCTHW)
        return Output(logits.to(enhanced_BCTHW.dtype), enhanced_BCTHW, curves_BNCHW)


def to_model_input(batch_BTHWC: Tensor, device: torch.device | str) -> Tensor:
    """uint8 [B, T, H, W, 3] to float32 [B, 3, T, H, W] in [0, 1] on the device; it travels as uint8."""
    clip_BCTHW = batch_BTHWC.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).contiguous()
    return clip_BCTHW.float().div_(255)


def build(config: ModelConfig, num_classes: int, frames: int, size: int) -> DTCM:
    """The joint model that `config` names for clips [B, 3, frames, size, size], with its weight files loaded.

    What each file gave and left open goes to the log. Raises BadInput for a name, k, clip shape or file
    that cannot be used.
    """
    enhancer = _enhancer(config)
    classifier = create_classifier(config.classifier, num_classes, frames, size)
    if config.classifier_weights:
        logger.info("%s", load_pretrained(classifier, config.classifier_weights))
    return DTCM(enhancer, classifier, config.k)


def _enhancer(config: ModelConfig) -> Enhancer | FrozenEnhancer:
    if config.enhancer in METHODS and config.enhancer not in ENHANCERS:
        return FrozenEnhancer(load_method(config.enhancer, config.enhancer_weights))
    enhancer = create_enhancer(config.enhancer)
    if config.enhancer_weights:
        logger.info("%s", load_pretrained(enhancer, config.enhancer_weights))
    return enhancer
