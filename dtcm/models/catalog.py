"""Names of the enhancers and classifiers, and how they are made."""

import difflib
from collections.abc import Callable, Iterable
from functools import partial

from torch import nn

from dtcm.enhancement import METHODS
from dtcm.errors import BadInput
from dtcm.models import zoo
from dtcm.models.bert import rbert_r2plus1d_34
from dtcm.models.c3d import c3d
from dtcm.models.darklight import darklight_r2plus1d_34, darklight_resnext3d_101
from dtcm.models.enhancers import Enhancer, LightEnhancer, ZeroDCE
from dtcm.models.i3d import i3d_flow, i3d_rgb, i3d_two_stream
from dtcm.models.mobilenet3d import mobilenet3d_v1, mobilenet3d_v2
from dtcm.models.p3d import p3d_199
from dtcm.models.r2plus1d import r2plus1d_34
from dtcm.models.resnet3d import r3d_18, r3d_50, r3d_101, resnext3d_101
from dtcm.models.shufflenet3d import shufflenet3d_v1, shufflenet3d_v2
from dtcm.models.slowfast import slowfast_r50
from dtcm.models.small3d import small3d
from dtcm.models.squeezenet3d import squeezenet3d
from dtcm.models.tsn import tin_r50, tsm_r50, tsn_r50, tsn_r50_two_stream
from dtcm.models.vgg import vgg16_two_stream

ENHANCERS: dict[str, Callable[[], Enhancer]] = {
    "light": LightEnhancer,
    "zero-dce": ZeroDCE,
}

CLASSIFIERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    # The paper's classifier, its plainer kin, and the one to start with.
    "resnext3d-101": resnext3d_101,
    "r3d-18": r3d_18,
    "r3d-50": r3d_50,
    "r3d-101": r3d_101,
    "small3d": small3d,
    # Light 3D networks of Efficient-3DCNNs, in its widths.
    "mobilenet3d-v1-0.5x": partial(mobilenet3d_v1, width=0.5),
    "mobilenet3d-v1": mobilenet3d_v1,
    "mobilenet3d-v1-1.5x": partial(mobilenet3d_v1, width=1.5),
    "mobilenet3d-v1-2.0x": partial(mobilenet3d_v1, width=2.0),
    "mobilenet3d-v2-0.2x": partial(mobilenet3d_v2, width=0.2),
    "mobilenet3d-v2-0.45x": partial(mobilenet3d_v2, width=0.45),
    "mobilenet3d-v2-0.7x": partial(mobilenet3d_v2, width=0.7),
    "mobilenet3d-v2": mobilenet3d_v2,
    "shufflenet3d-v1-0.5x": partial(shufflenet3d_v1, width=0.5),
    "shufflenet3d-v1": shufflenet3d_v1,
    "shufflenet3d-v1-1.5x": partial(shufflenet3d_v1, width=1.5),
    "shufflenet3d-v1-2.0x": partial(shufflenet3d_v1, width=2.0),
    "shufflenet3d-v2-0.25x": partial(shufflenet3d_v2, width=0.25),
    "shufflenet3d-v2": shufflenet3d_v2,
    "shufflenet3d-v2-1.5x": partial(shufflenet3d_v2, width=1.5),
    "shufflenet3d-v2-2.0x": partial(shufflenet3d_v2, width=2.0),
    "squeezenet3d": squeezenet3d,
    # Larger 3D networks.
    "c3d": c3d,
    "i3d-rgb": i3d_rgb,
    "p3d-199": p3d_199,
    "r2plus1d-34": r2plus1d_34,
    "slowfast-r50": slowfast_r50,
    # Image networks on eight frames.
    "tsn-r50": tsn_r50,
    "tsm-r50": tsm_r50,
    "tin-r50": tin_r50,
    # Made for the dark.
    "darklight-r2plus1d-34": darklight_r2plus1d_34,
    "darklight-resnext3d-101": darklight_resnext3d_101,
    "rbert-r2plus1d-34": rbert_r2plus1d_34,
    # With optical flow: need the extra "flow".
    "i3d-flow": i3d_flow,
    "i3d-two-stream": i3d_two_stream,
    "tsn-r50-two-stream": tsn_r50_two_stream,
    "vgg16-two-stream": vgg16_two_stream,
    # Of kept libraries: need the extra "zoo".
    "s3d": zoo.s3d,
    "video-swin-b": zoo.video_swin_b,
    "mvit-b-64x3": zoo.mvit_b_64x3,
    "timesformer-l": zoo.timesformer_l,
    "videomae-b": zoo.videomae_b,
    "vjepa2-l": zoo.vjepa2_l,
}
"""Called with num_classes, frames (T) and size (pixels of a side). docs/models.md tells where each is from."""

FLOW = ("i3d-flow", "i3d-two-stream", "tsn-r50-two-stream", "vgg16-two-stream")
NEEDS = {
    **dict.fromkeys(FLOW, ("opencv-python-headless",)),
    **dict.fromkeys(("s3d", "video-swin-b", "mvit-b-64x3"), ("torchvision",)),
    **dict.fromkeys(("timesformer-l", "videomae-b", "vjepa2-l"), ("torchvision", "transformers")),
}
"""Packages without which a classifier cannot be built or used; the others need torch alone."""


def create_enhancer(name: str) -> Enhancer:
    """A freshly initialised enhancer. Raises BadInput for an unknown name."""
    _check_name("enhancer", name, ENHANCERS | METHODS)
    return ENHANCERS[name]()


def create_classifier(name: str, num_classes: int, frames: int, size: int) -> nn.Module:
    """A freshly initialised classifier of RGB clips in [0, 1], [B, 3, frames, size, size] -> [B, num_classes].

    It normalises its input by itself. Raises BadInput for an unknown name, for fewer than one class, frame or
    pixel, for a clip that the classifier cannot take, and where an extra that it needs is not installed.
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
