"""Shapes of the stages, names of the public checkpoints, and the arithmetic of the blocks."""

import pytest
import torch
from torch.nn import functional

from dtcm.models import create_classifier
from dtcm.models.layers import ACTIVITYNET_MEAN, GlobalAvgPool3d


def on_meta(name, num_classes=11):
    with torch.device("meta"):
        return create_classifier(name, num_classes, 64, 112)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("r3d-18", 33_209_547), ("r3d-50", 46_221_515), ("r3d-101", 85_267_659), ("resnext3d-101", 47_543_755)],
)
def test_parameter_counts_are_the_papers(name, parameters):
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == parameters


def test_resnext_stages_have_the_output_sizes_of_table_1():
    model = on_meta("resnext3d-101")
    sizes = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda _, __, output, name=name: sizes.update({name: tuple(output.shape[1:])}))
    logits = model(torch.empty(2, 3, 64, 112, 112, device="meta"))
    assert logits.shape == (2, 11)
    assert sizes == {
        "conv1": (64, 64, 56, 56),
        "maxpool": (64, 32, 28, 28),
        "layer1": (256, 32, 28, 28),
        "layer2": (512, 16, 14, 14),
        "layer3": (1024, 8, 7, 7),
        "layer4": (2048, 4, 4, 4),
    }


@pytest.mark.parametrize(("frames", "size"), [(1, 1), (1, 32), (5, 17), (16, 64), (16, 224), (96, 112)])
def test_any_clip_keeps_at_least_one_element(frames, size):
    model = on_meta("r3d-18").eval()
    assert model(torch.empty(1, 3, frames, size, size, device="meta")).shape == (1, 11)


def test_names_and_shapes_are_those_of_the_2018_checkpoints():
    shapes = {name: tuple(tensor.shape) for name, tensor in on_meta("resnext3d-101", 400).state_dict().items()}
    expected = {
        "conv1.weight": (64, 3, 7, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (128, 64, 1, 1, 1),
        "layer1.0.conv2.weight": (128, 4, 3, 3, 3),
        "layer1.0.conv3.weight": (256, 128, 1, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1, 1),
        "layer1.0.downsample.1.weight": (256,),
        "layer3.22.conv2.weight": (512, 16, 3, 3, 3),
        "layer4.2.bn3.bias": (2048,),
        "fc.weight": (400, 2048),
        "fc.bias": (400,),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert not any("mean" in name and "running" not in name for name in shapes)  # our own constants stay out
    shortcuts = {name.split(".downsample")[0] for name in shapes if ".downsample." in name}
    assert shortcuts == {"layer1.0", "layer2.0", "layer3.0", "layer4.0"}
    basic = on_meta("r3d-18").state_dict()
    assert {name.split(".downsample")[0] for name in basic if ".downsample." in name} == {
        "layer2.0",
        "layer3.0",
        "layer4.0",
    }


def reference_bottleneck(x, block, groups, stride):
    """The block from its raw tensors, by functional calls."""

    def normalise(y, bn):
        return functional.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    y = functional.relu(normalise(functional.conv3d(x, block.conv1.weight), block.bn1))
    y = functional.conv3d(y, block.conv2.weight, stride=stride, padding=1, groups=groups)
    y = functional.relu(normalise(y, block.bn2))
    y = normalise(functional.conv3d(y, block.conv3.weight), block.bn3)
    shortcut = normalise(functional.conv3d(x, block.downsample[0].weight, stride=stride), block.downsample[1])
    return functional.relu(y + shortcut)


@pytest.mark.parametrize(("name", "groups"), [("r3d-50", 1), ("resnext3d-101", 32)])
def test_bottleneck_strides_and_groups_its_3x3x3_convolution(name, groups):
    torch.manual_seed(0)
    block = on_meta(name).layer2[0].to_empty(device="cpu").eval()
    for tensor in block.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape)) if tensor.is_floating_point() else tensor.zero_()
    x = torch.randn(1, block.conv1.in_channels, 3, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(block(x), reference_bottleneck(x, block, groups, stride=2))


def test_input_is_scaled_to_0_255_less_the_activitynet_mean():
    model = create_classifier("r3d-18", 2, 2, 16).eval()
    seen = []
    model.get_submodule("conv1").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 16, 16))
    expected = [0 - ACTIVITYNET_MEAN[0], 127.5 - ACTIVITYNET_MEAN[1], 255 - ACTIVITYNET_MEAN[2]]
    assert seen[0][0, :, 0, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_convolutions_start_from_kaimings_distribution_by_fan_out():
    torch.manual_seed(0)
    weight = create_classifier("r3d-18", 2, 4, 32).get_parameter("layer1.0.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.02)


def test_global_average_pool_is_the_mean_over_time_and_space():
    x = torch.rand(2, 4, 3, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(GlobalAvgPool3d()(x).flatten(1), x.mean(dim=(2, 3, 4)))


def test_training_reaches_every_parameter():
    model = create_classifier("r3d-18", 3, 4, 32)
    functional.cross_entropy(model(torch.rand(2, 3, 4, 32, 32)), torch.tensor([0, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
