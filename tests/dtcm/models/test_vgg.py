"""VGG-16's layers are torchvision's, and each stream averages its segments."""

import importlib.util

import pytest
import torch
from torch import nn

from dtcm.models import create_classifier
from dtcm.models.torchvision_import import import_torchvision
from dtcm.models.vgg import VGG16


def classifier(name, *args):
    return create_classifier(name, *args)


def test_the_rgb_stream_is_torchvisions_vgg16():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    pytest.importorskip("cv2")
    with torch.device("meta"):
        theirs = import_torchvision().models.vgg16(num_classes=11)
        ours = classifier("vgg16-two-stream", 11, 16, 224).rgb
    shapes = [{name: tuple(value.shape) for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    for part in ("features", "classifier"):
        layers = [[repr(layer) for layer in model.get_submodule(part)] for model in (ours, theirs)]
        assert layers[0] == layers[1]


def test_the_flow_stream_takes_ten_flows_of_x_and_y():
    pytest.importorskip("cv2")
    with torch.device("meta"):
        model = classifier("vgg16-two-stream", 11, 16, 224)
    assert model.flow.features[0].weight.shape == (64, 20, 3, 3)


def test_logits_are_the_mean_of_the_segments():
    class Segments(nn.Module):
        def forward(self, clip):
            return clip.transpose(1, 2)

    torch.manual_seed(0)
    with torch.device("meta"):
        model = VGG16(3, Segments(), channels=3).eval()
    model.features, model.classifier = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Linear(4 * 49, 3))
    clip = torch.rand(2, 3, 4, 16, 16)
    with torch.no_grad():
        alone = [model(clip[:, :, t : t + 1]) for t in range(4)]
        torch.testing.assert_close(model(clip), sum(alone) / 4)
