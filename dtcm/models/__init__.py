"""Enhancers, action classifiers, and the joint model of both.

enhancers.py brightens clips, resnet3d.py and small3d.py classify them, dtcm.py joins the two,
catalog.py names them all, pretrained.py reads public checkpoints.
"""

from dtcm.models.catalog import CLASSIFIERS, ENHANCERS, create_classifier, create_enhancer
from dtcm.models.dtcm import DTCM, Output, build
from dtcm.models.enhancers import Enhanced
from dtcm.models.pretrained import LoadReport, load_pretrained

__all__ = [
    "CLASSIFIERS",
    "DTCM",
    "ENHANCERS",
    "Enhanced",
    "LoadReport",
    "Output",
    "build",
    "create_classifier",
    "create_enhancer",
    "load_pretrained",
]
