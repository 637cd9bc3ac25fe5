"""I3D: TensorFlow's "SAME" padding, and pooling over windows of two in time."""

import math

import pytest
import torch
from torch.nn.functional import conv3d

from dtcm.models import create_classifier
from dtcm.models.i3d import SameMaxPool, Unit, pad_same


def classifier(name, *args):
    return create_classifier(name, *args)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"),
    [  # windows = ceil(side / stride); (windows - 1) * stride + kernel - side zeros, an odd one behind
        (5, 3, 2, 1, 1),
        (4, 3, 2, 0, 1),
        (7, 7, 2, 3, 3),
        (8, 7, 2, 2, 3),
        (3, 3, 1, 1, 1),
        (4, 2, 2, 0, 0),
        (5, 2, 2, 0, 1),
        (6, 1, 1, 0, 0),
        (1, 7, 2, 3, 3),
    ],
)
def test_same_padding_is_tensorflows(side, kernel, stride, before, after):
    x = torch.arange(1.0, side + 1).view(1, 1, 1, 1, side)
    padded = pad_same(x, (1, 1, kernel), (1, 1, stride))
    assert padded.flatten().tolist() == [0.0] * before + x.flatten().tolist() + [0.0] * after
    turned = pad_same(x.movedim(4, 2), (kernel, 1, 1), (stride, 1, 1))
    assert torch.equal(turned.movedim(2, 4), padded)


def test_a_convolution_of_an_even_clip_is_padded_by_two_before_and_three_behind():
    torch.manual_seed(0)
    unit, x = Unit(3, 4, kernel=7, stride=2).eval(), torch.randn(1, 3, 8, 10, 12)
    with torch.no_grad():
        whole = conv3d(x, unit.conv3d.weight, padding=5)[:, :, 3:, 3:, 3:][:, :, :8:2, :10:2, :12:2]
        expected = torch.relu(whole / math.sqrt(1 + 1e-3))
        torch.testing.assert_close(unit(x), expected, rtol=1e-4, atol=1e-5)


def test_a_pooling_takes_the_largest_of_what_lies_within_its_window():
    x = torch.rand(1, 2, 5, 4, 6)
    y = SameMaxPool((3, 3, 3), (2, 2, 2))(x)
    assert y.shape == (1, 2, 3, 2, 3)
    # T = 5: windows from -1, 1, 3. H = 4 and W = 6: windows from 0, 2(, 4).
    for t, h, w in ((0, 0, 0), (1, 1, 1), (2, 1, 2)):
        window = x[:, :, max(2 * t - 1, 0) : 2 * t + 2, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        assert torch.equal(y[:, :, t, h, w], window.amax(dim=(2, 3, 4)))


def test_logits_average_windows_of_two_in_time():
    torch.manual_seed(0)
    model = classifier("i3d-rgb", 4, 24, 32).eval()
    features = []
    model.get_submodule("Mixed_5c").register_forward_hook(lambda _, __, output: features.append(output))
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 24, 32, 64))
    assert features[0].shape == (2, 1024, 3, 1, 2)
    weight, bias = model.logits["conv3d"].weight.flatten(1), model.logits["conv3d"].bias
    steps = features[0].mean(dim=(3, 4))
    windows = [(steps[:, :, t] + steps[:, :, t + 1]) / 2 @ weight.T + bias for t in range(2)]
    torch.testing.assert_close(logits, (windows[0] + windows[1]) / 2, rtol=1e-4, atol=1e-4)


def test_input_lies_between_minus_one_and_one():
    model = classifier("i3d-rgb", 2, 2, 16).eval()
    assert model.normalize(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 1, 3).expand(1, 3, 1, 1, 3))[
        0, 0
    ].flatten().tolist() == [-1, 0, 1]
