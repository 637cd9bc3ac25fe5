"""The stem is nn.Conv3d, to rounding, forward and backward."""

import pytest
import torch
from torch import nn

from dtcm.models.stem import Stem


@pytest.mark.parametrize("frames", [1, 3, 7])
@pytest.mark.parametrize("shape", [(2, 3, 5, 12, 16), (1, 3, 4, 11, 9), (1, 3, 1, 1, 2), (2, 3, 2, 7, 8)])
def test_output_and_both_gradients_are_those_of_the_plain_convolution(frames, shape):
    torch.manual_seed(0)
    stem = Stem(8, frames).double()
    plain = nn.Conv3d(3, 8, (frames, 7, 7), (1, 2, 2), (frames // 2, 3, 3), bias=False).double()
    plain.load_state_dict(stem.state_dict())
    clip = torch.randn(shape, dtype=torch.float64)
    found = []
    for layer in (stem, plain):
        leaf = clip.clone().requires_grad_()
        out = layer(leaf)
        (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum().backward()
        found.append((out, leaf.grad, layer.weight.grad))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_a_stem_that_is_not_trained_hands_the_gradient_on():
    stem = Stem(4, 3).requires_grad_(False)
    clip = torch.rand(1, 3, 2, 8, 8, requires_grad=True)
    stem(clip).sum().backward()
    assert clip.grad is not None
    assert stem.weight.grad is None


def test_its_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    stem = Stem(2, 3).double()
    clip = torch.randn(1, 3, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stem, (clip,))


def test_a_classifier_alone_and_one_in_bfloat16_use_the_library():
    stem, clip = Stem(4, 3), torch.rand(1, 3, 2, 8, 8)
    assert "Convolution" in type(stem(clip).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        out = stem(clip.requires_grad_())
    assert out.dtype == torch.bfloat16
    assert "Strided" in type(stem(clip).grad_fn).__name__
