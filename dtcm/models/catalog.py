"""Names of the enhancers and classifiers, and how they are made."""

import difflib
from collections.abc import Callable, Iterable

from torch import nn

from dtcm.errors import BadInput
from dtcm.models.enhancers import Enhancer, LightEnhancer, ZeroDCE
from dtcm.models.resnet3d import r3d_18, r3d_50, r3d_101, resnext3d_101
from dtcm.models.small3d import small3d

ENHANCERS: dict[str, Callable[[], Enhancer]] = {
    "light": LightEnhancer,
    "zero-dce": ZeroDCE,
}

CLASSIFIERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "r3d-18": r3d_18,
    "r3d-50": r3d_50,
    "r3d-101": r3d_101,
    "resnext3d-101": resnext3d_101,
    "small3d": small3d,
}
"""Called with num_classes, frames (T) and size (pixels of a side)."""


def create_enhancer(name: str) -> Enhancer:
    """A freshly initialised enhancer. Raises BadInput for an unknown name."""
    _check_name("enhancer", name, ENHANCERS)
    return ENHANCERS[name]()


def create_classifier(name: str, num_classes: int, frames: int, size: int) -> nn.Module:
    """A freshly initialised classifier of RGB clips in [0, 1], [B, 3, frames, size, size] -> [B, num_classes].

    It normalises its input by itself. Raises BadInput for an unknown name, and for fewer than one class,
    frame or pixel; all the classifiers here pad their strides, so no stage runs empty above that.
    """
    _check_name("classifier", name, CLASSIFIERS)
    for what, value in (("num_classes", num_classes), ("frames", frames), ("size", size)):
        if value < 1:
            raise BadInput(f"The classifier {name!r} needs {what} of at least 1, not {value}.")
    return CLASSIFIERS[name](num_classes, frames, size)


def _check_name(kind: str, name: str, known: Iterable[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? The names are" if near else "the names are"
    raise BadInput(f"There is no {kind} {name!r}; {hint} {', '.join(known)}.")
