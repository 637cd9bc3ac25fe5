"""Blocks of the light 3D networks (MobileNet, ShuffleNet, SqueezeNet) against plain arithmetic."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import conv3d

from dtcm.models import create_classifier
from dtcm.models.mobilenet3d import InvertedResidual
from dtcm.models.shufflenet3d import GroupedBottleneck, SplitUnit
from dtcm.models.squeezenet3d import Fire


def on_meta(name, num_classes=5):
    with torch.device("meta"):
        return create_classifier(name, num_classes, 16, 112)


@pytest.mark.parametrize(
    ("name", "width"), [("mobilenet3d-v1-0.5x", 0.5), ("mobilenet3d-v1", 1), ("mobilenet3d-v1-2.0x", 2)]
)
def test_mobilenet_v1_has_the_parameters_of_its_widths(name, width):
    channels = [int(c * width) for c in (32, 64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)]
    expected = 3 * 27 * channels[0] + 2 * channels[0] + 5 * channels[-1] + 5
    for before, after in pairwise(channels):
        expected += 27 * before + 2 * before + before * after + 2 * after
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == expected


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("mobilenet3d-v2-0.2x", "features.1.conv.3.weight", (3, 6, 1, 1, 1)),  # int(0.2 * 16) of int(0.2 * 32)
        ("mobilenet3d-v2-0.45x", "features.18.0.weight", (1280, 144, 1, 1, 1)),  # the last layer is never narrower
        ("mobilenet3d-v2-0.7x", "features.4.conv.0.weight", (96, 16, 1, 1, 1)),
        ("shufflenet3d-v1-0.5x", "layer1.0.conv1.weight", (30, 4, 1, 1, 1)),  # 12 channels in three groups
        ("shufflenet3d-v1", "layer1.0.conv1.weight", (60, 24, 1, 1, 1)),  # 24 in one
        ("shufflenet3d-v1-2.0x", "layer3.3.conv3.weight", (1920, 160, 1, 1, 1)),
        ("shufflenet3d-v2-0.25x", "features.0.banch1.2.weight", (16, 24, 1, 1, 1)),
        ("shufflenet3d-v2-1.5x", "features.15.banch2.0.weight", (352, 352, 1, 1, 1)),
        ("shufflenet3d-v2-2.0x", "conv_last.0.weight", (2048, 976, 1, 1, 1)),
    ],
)
def test_widths_change_the_layers_as_in_the_public_models(name, key, shape):
    assert on_meta(name).get_parameter(key).shape == shape


def test_a_mobilenet_v2_block_adds_its_input_only_where_the_shape_stays_and_ends_without_activation():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 5, 5)
    with torch.no_grad():
        same, wider, strided = (InvertedResidual(4, *rest).eval() for rest in ((4, 1, 6), (5, 1, 6), (4, 2, 6)))
        torch.testing.assert_close(same(x), x + same.conv(x))
        torch.testing.assert_close(wider(x), wider.conv(x))
        torch.testing.assert_close(strided(x), strided.conv(x))
        assert strided(x).shape == (2, 4, 2, 3, 3)
        assert wider(x).min() < 0


def test_a_shufflenet_v2_unit_leaves_one_half_as_it_is_and_interleaves_the_halves():
    torch.manual_seed(0)
    unit, x = SplitUnit(6, 6, stride=1).eval(), torch.randn(1, 6, 2, 3, 3)
    with torch.no_grad():
        y = unit(x)
        assert torch.equal(y[:, 0::2], x[:, :3])
        assert torch.equal(y[:, 1::2], unit.banch2(x[:, 3:]))
        strided = SplitUnit(6, 8, stride=2).eval()
        y = strided(x)
        assert torch.equal(y[:, 0::2], strided.banch1(x))
        assert torch.equal(y[:, 1::2], strided.banch2(x))


def averaged(x, t, h, w):
    """Mean of frames 2t and 2t + 1 over the 3x3 around (2h, 2w); beyond the border, zeros count."""
    total = torch.zeros(x.shape[:2], dtype=x.dtype)
    frames = [frame for frame in (2 * t, 2 * t + 1) if frame < x.shape[2]]
    for frame in frames:
        for i in range(2 * h - 1, 2 * h + 2):
            for j in range(2 * w - 1, 2 * w + 2):
                if 0 <= i < x.shape[3] and 0 <= j < x.shape[4]:
                    total += x[:, :, frame, i, j]
    return total / (9 * len(frames))


@pytest.mark.parametrize("frames", [4, 5])
def test_a_strided_shufflenet_v1_block_appends_its_pooled_input(frames):
    torch.manual_seed(0)
    block, x = GroupedBottleneck(6, 24, stride=2).eval(), torch.rand(2, 6, frames, 5, 4)
    with torch.no_grad():
        pooled = block(x)[:, 18:]
    assert pooled.shape == (2, 6, (frames + 1) // 2, 3, 2)
    for t in range(pooled.shape[2]):
        for h, w in ((0, 0), (1, 1), (2, 1)):
            torch.testing.assert_close(pooled[:, :, t, h, w], averaged(x, t, h, w))


def test_a_shufflenet_v1_block_shuffles_between_its_grouped_convolutions():
    torch.manual_seed(0)
    block, x = GroupedBottleneck(24, 24, stride=1).eval(), torch.rand(1, 24, 2, 3, 3)
    seen = []
    block.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        block(x)
        grouped = torch.relu(block.bn1(conv3d(x, block.conv1.weight)))  # 6 channels: groups of 2
    assert block.conv3.groups == 3
    assert torch.equal(seen[0], grouped[:, [0, 2, 4, 1, 3, 5]])


def test_squeezenet_is_version_1_1_pooled_before_the_first_third_fifth_and_seventh_block():
    kinds = [type(layer).__name__ for layer in on_meta("squeezenet3d").features]
    assert kinds == ["Conv3d", "BatchNorm3d", "ReLU"] + ["MaxPool3d", "Fire", "Fire"] * 4
    assert [layer.bypass for layer in on_meta("squeezenet3d").features if isinstance(layer, Fire)] == [False, True] * 4


def test_squeezenets_logits_are_the_mean_of_its_rectified_class_maps():
    torch.manual_seed(0)
    model = create_classifier("squeezenet3d", 5, 4, 64).eval()
    maps = []
    model.get_submodule("classifier.1").register_forward_hook(
        lambda _, __, output: maps.append(output.detach().clone())
    )
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 20, 64, 64))
    assert maps[0].shape == (2, 5, 2, 2, 2)
    torch.testing.assert_close(logits, maps[0].clamp(min=0).mean(dim=(2, 3, 4)))


def test_a_fire_block_adds_its_input_before_the_last_rectification():
    torch.manual_seed(0)
    plain, bypassed = Fire(8, 2, 4, bypass=False).eval(), Fire(8, 2, 4, bypass=True).eval()
    bypassed.load_state_dict(plain.state_dict())
    x = torch.randn(1, 8, 2, 3, 3)
    with torch.no_grad():
        squeezed = torch.relu(plain.squeeze_bn(plain.squeeze(x)))
        y = torch.cat(
            [plain.expand1x1_bn(plain.expand1x1(squeezed)), plain.expand3x3_bn(plain.expand3x3(squeezed))], dim=1
        )
        torch.testing.assert_close(plain(x), y.clamp(min=0))
        torch.testing.assert_close(bypassed(x), (y + x).clamp(min=0))
