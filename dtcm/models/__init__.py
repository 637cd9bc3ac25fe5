"""Enhancers, action classifiers, and the joint model of both.

enhancers.py brightens clips, dtcm.py joins an enhancer and a classifier, catalog.py names them all, pretrained.py
reads public checkpoints. The classifiers are a file a family, resnet3d.py (the paper's) to vgg.py; zoo.py has those
of other libraries. layers.py, stem.py and flow.py hold what several of them share.
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
