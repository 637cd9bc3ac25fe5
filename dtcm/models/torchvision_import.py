"""Import torchvision, also beside a CPU build of torch.

torchvision's own operators exist only where its binary fits torch's. Where it does not, the import fails because two
of them have no schema; with the schemas defined, everything of torchvision that the classifiers here use works.
"""

import importlib
import sys
from types import ModuleType

import torch

from dtcm.errors import BadInput

_DEFINED: list[torch.library.Library] = []
"""Schemas last as long as the object that defined them."""


def import_torchvision() -> ModuleType:
    """The module torchvision. Raises BadInput where it is not installed."""
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise BadInput('This classifier needs torchvision: pip install -e ".[zoo]".') from error
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _DEFINED:
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _DEFINED.append(torch.library.Library("torchvision", "FRAGMENT"))
    for operator in ("nms", "qnms"):
        _DEFINED[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
