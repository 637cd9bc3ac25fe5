"""What every classifier must do: logits for any class count, gradients for an enhancer, the same answer twice."""

import importlib.util
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from dtcm.errors import BadInput
from dtcm.models import CLASSIFIERS, create_classifier
from dtcm.models.catalog import NEEDS

WIDTHS = tuple(name for name in CLASSIFIERS if name.endswith("x"))
OTHER_LIBRARIES = ("s3d", "video-swin-b", "mvit-b-64x3", "timesformer-l", "videomae-b", "vjepa2-l")
LARGE = ("timesformer-l", "vjepa2-l")
"""Seconds to draw initial weights: test_zoo.py tests them without."""
LIGHT = ("mobilenet3d-v1", "mobilenet3d-v2", "shufflenet3d-v1", "shufflenet3d-v2", "squeezenet3d")
"""Strided so that at 32 pixels batch normalisation sees one value of a clip, and passes hardly any gradient."""
SLOW = (
    *("r3d-50", "r3d-101", "c3d", "p3d-199", "r2plus1d-34", "darklight-r2plus1d-34", "darklight-resnext3d-101"),
    *("i3d-two-stream", "tsn-r50-two-stream", "vgg16-two-stream", "s3d", "video-swin-b", "videomae-b"),
)
FRAMES = {"c3d": 9, "p3d-199": 16, "vgg16-two-stream": 10}
"""The fewest, for others 8."""
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in CLASSIFIERS
    if name not in WIDTHS + LARGE
]


def skip_without_its_libraries(name):
    needed = ("torchvision", "transformers") if name in OTHER_LIBRARIES else ()
    needed = ("cv2",) if "stream" in name or "flow" in name else needed
    if missing := [library for library in needed if importlib.util.find_spec(library) is None]:
        pytest.skip(f"{name} needs {missing[0]}, which is not installed")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_needs_the_packages_that_are_said_and_no_other(name, monkeypatch):
    modules = {"opencv-python-headless": "cv2", "torchvision": "torchvision", "transformers": "transformers"}
    for missing in NEEDS.get(name, ()):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, modules[missing], None)  # importing it now fails
            with pytest.raises(BadInput, match="needs"):
                create_classifier(name, 3, FRAMES.get(name, 8), 64)
    for package in modules.keys() - set(NEEDS.get(name, ())):
        monkeypatch.setitem(sys.modules, modules[package], None)
    with torch.device("meta"):
        create_classifier(name, 3, FRAMES.get(name, 8), 64)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_clip_and_all_that_is_trained_and_evaluation_repeats_itself(name):
    skip_without_its_libraries(name)
    torch.manual_seed(0)
    frames, size = FRAMES.get(name, 8), 64 if name in LIGHT else 32
    model = create_classifier(name, 3, frames, size).train()
    clips = torch.rand(2, 3, frames, size, size, requires_grad=True)
    cross_entropy(model(clips), torch.tensor([0, 2])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
    if name != "i3d-flow":  # flow cannot be differentiated
        assert clips.grad is not None
        assert clips.grad.isfinite().all()
        assert clips.grad.abs().max() > 0
    with torch.no_grad():
        model.eval()
        together, alone = model(clips), model(clips[1:])
    assert together.shape == (2, 3)
    assert together.isfinite().all()
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4 * together.abs().max().item())


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in OTHER_LIBRARIES])
def test_a_state_dict_holds_weights_only_not_constants_of_the_input(name):
    skip_without_its_libraries(name)
    with torch.device("meta"):
        model = create_classifier(name, 3, 16, 64)
    assert not [key for key in model.state_dict() if key.split(".")[-1] in ("mean", "std") or "normalize" in key]


@pytest.mark.parametrize(
    ("name", "frames", "size", "message"),
    [
        ("c3d", 8, 64, "C3D needs clips of at least 9 frames, not 8"),
        ("c3d", 16, 15, "C3D needs clips of at least 16 pixels of a side, not 15"),
        ("p3d-199", 15, 64, "P3D-199 needs clips of at least 16 frames, not 15"),
        ("tsn-r50", 7, 64, "TSN needs clips of at least 8 frames, not 7"),
        ("tsm-r50", 7, 64, "TSM needs clips of at least 8 frames, not 7"),
        ("tin-r50", 1, 64, "TIN needs clips of at least 8 frames, not 1"),
        ("i3d-flow", 1, 64, "I3D on flow needs clips of at least 2 frames, not 1"),
        ("i3d-two-stream", 16, 15, "I3D on flow needs clips of at least 16 pixels of a side, not 15"),
        ("tsn-r50-two-stream", 16, 15, "TSN on flow needs clips of at least 16 pixels of a side, not 15"),
        ("vgg16-two-stream", 9, 64, "VGG-16 needs clips of at least 10 frames, not 9"),
        ("vgg16-two-stream", 16, 31, "VGG-16 needs clips of at least 32 pixels of a side, not 31"),
        ("s3d", 4, 64, "S3D needs clips of at least 5 frames, not 4"),
        ("s3d", 16, 16, "S3D needs clips of at least 17 pixels of a side, not 16"),
        ("mvit-b-64x3", 15, 64, "MViT-B needs clips of a multiple of 2 frames, not 15"),
        ("timesformer-l", 8, 60, "TimeSformer needs clips of a multiple of 16 pixels of a side, not 60"),
        ("videomae-b", 15, 64, "VideoMAE needs clips of a multiple of 2 frames, not 15"),
        ("vjepa2-l", 16, 100, "V-JEPA 2 needs clips of a multiple of 16 pixels of a side, not 100"),
    ],
)
def test_a_clip_that_a_classifier_cannot_take_is_refused_in_a_sentence(name, frames, size, message):
    with pytest.raises(BadInput, match=message):
        create_classifier(name, 3, frames, size)


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        *((name, frames, size) for name in LIGHT for frames, size in ((1, 1), (5, 17))),
        *((name, 5, 17) for name in ("i3d-rgb", "r2plus1d-34", "slowfast-r50", "rbert-r2plus1d-34")),
        *((name, 17, 40) for name in ("darklight-r2plus1d-34", "darklight-resnext3d-101", "c3d", "p3d-199", "tin-r50")),
        *(("c3d", 9, 16), ("c3d", 47, 47), ("p3d-199", 47, 17), ("tsn-r50", 8, 1), ("i3d-flow", 2, 16)),
        *(("i3d-rgb", 1, 1), ("slowfast-r50", 1, 1), ("tsn-r50-two-stream", 8, 16), ("vgg16-two-stream", 10, 32)),
        *(("s3d", 5, 17), ("video-swin-b", 1, 1), ("mvit-b-64x3", 2, 4), ("timesformer-l", 1, 16)),
        *(("videomae-b", 2, 16), ("vjepa2-l", 2, 16)),
    ],
)
def test_the_smallest_and_odd_clips_that_a_classifier_takes(name, frames, size):
    skip_without_its_libraries(name)
    with torch.device("meta"):
        model = create_classifier(name, 4, frames, size).eval()
        assert model(torch.empty(1, 3, frames, size, size)).shape == (1, 4)
