"""R(2+1)D-34 against torchvision's VideoResNet, in which IG-65M's checkpoints replace three convolutions."""

import importlib.util

import pytest
import torch
from torch import nn

from dtcm.models import create_classifier
from dtcm.models.layers import KINETICS
from dtcm.models.torchvision_import import import_torchvision


@pytest.fixture
def torchvisions():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import_torchvision()
    from torchvision.models.video import resnet

    model = resnet.VideoResNet(
        resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, [3, 4, 6, 3], resnet.R2Plus1dStem, num_classes=5
    )
    for stage, width, between in ((model.layer2, 128, 288), (model.layer3, 256, 576), (model.layer4, 512, 1152)):
        stage.get_submodule("0.conv2").register_module("0", resnet.Conv2Plus1D(width, width, between))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm3d):
            layer.eps = 1e-3
            nn.init.uniform_(layer.get_buffer("running_mean"))
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    return model.eval()


def test_it_computes_what_torchvisions_model_of_the_same_weights_does(torchvisions):
    torch.manual_seed(0)
    ours = create_classifier("r2plus1d-34", 5, 9, 24).eval()
    ours.load_state_dict(torchvisions.state_dict())
    clip = torch.rand(2, 3, 9, 24, 24)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in KINETICS)
    with torch.no_grad():
        expected = torchvisions((clip - mean) / std)
        torch.testing.assert_close(ours(clip), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
