"""The curve in one pass against its formula, which autograd differentiates; what it keeps; the GPU's kernels."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from dtcm.models.curve import apply_curves, plain_curves

CASES = [(2, 7, 3), (1, 4, 4), (2, 5, 8), (1, 3, 1)]


def clip_and_curves(batch, frames, k, side=(20, 17)):
    """Curves with their channels last, as the networks give them."""
    generator = torch.Generator().manual_seed(0)
    groups = -(-frames // k)
    curves = 2 * torch.rand(batch * groups, 24, *side, generator=generator) - 1
    curves = curves.contiguous(memory_format=torch.channels_last).unflatten(0, (batch, groups))
    return torch.rand(batch, 3, frames, *side, generator=generator).requires_grad_(), curves.requires_grad_()


def kept_bytes(brighten, *inputs):
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        brightened = brighten(*inputs)
    return sum(storage.nbytes() for storage in kept.values()), brightened


@pytest.mark.parametrize(("batch", "frames", "k"), CASES)
def test_one_pass_is_bit_for_bit_the_formula_and_has_its_gradients(batch, frames, k):
    clip, curves = clip_and_curves(batch, frames, k)
    weights = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
    expected = plain_curves(clip, curves, k)
    found = apply_curves(clip, curves, k)
    assert torch.equal(found, expected)
    gradients = torch.autograd.grad((found * weights).sum(), (clip, curves))
    for gradient, plain in zip(gradients, torch.autograd.grad((expected * weights).sum(), (clip, curves)), strict=True):
        assert torch.equal(gradient, plain)


def test_a_clip_that_is_data_is_given_no_gradient_and_stays_as_it_is():
    clip, curves = clip_and_curves(2, 7, 3)
    dark = clip.detach().clone()
    apply_curves(dark, curves, 3).sum().backward()
    assert dark.grad is None
    assert torch.equal(dark, clip)
    assert torch.equal(curves.grad, torch.autograd.grad(plain_curves(clip, curves, 3).sum(), curves)[0])


def test_nothing_is_kept_but_clip_and_curves():
    clip, curves = clip_and_curves(1, 8, 4)
    plain_bytes, _ = kept_bytes(plain_curves, clip, curves, 4)
    kept, _ = kept_bytes(apply_curves, clip, curves, 4)
    assert kept == clip.nbytes + curves.nbytes
    assert plain_bytes >= curves.nbytes + 16 * clip.nbytes


def test_bfloat16_autocast_changes_nothing():
    clip, curves = clip_and_curves(1, 4, 2)
    plain = torch.autograd.grad(apply_curves(clip, curves, 2).square().sum(), curves)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        brightened = apply_curves(clip, curves, 2)
    assert brightened.dtype == torch.float32
    assert torch.equal(torch.autograd.grad(brightened.square().sum(), curves)[0], plain)


def test_gradients_of_gradients_are_refused():
    clip, curves = clip_and_curves(1, 2, 2)
    gradient = torch.autograd.grad(apply_curves(clip, curves, 2).square().sum(), curves, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


KERNELS = """
import torch
from dtcm.models.curve import apply_curves
from dtcm.models.curve_triton import backward, forward
curves = 2 * torch.rand(4, 24, 20, 17) - 1
curves = curves.contiguous(memory_format=torch.channels_last).unflatten(0, (2, 2)).requires_grad_()
clip = torch.rand(2, 3, 5, 20, 17).requires_grad_()
gradient = torch.randn_like(clip)
expected = apply_curves(clip, curves, 3)
torch.testing.assert_close(forward(clip.detach(), curves.detach(), 3), expected, rtol=1e-6, atol=1e-6)
found = backward(gradient, clip.detach(), curves.detach(), 3, True)
none, alone = backward(gradient, clip.detach(), curves.detach(), 3, False)
assert none is None
assert torch.equal(alone, found[1])
for one, other in zip(found, torch.autograd.grad(expected, (clip, curves), gradient)):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)
print("as on the CPU")
"""


COMPILED = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dtcm.models import curve_triton
for kernel in (curve_triton._forward, curve_triton._backward):
    numbers = {"frames", "pixels", "k", "groups", "sb", "sn", "sc", "sp"}
    constants = {"BLOCK": curve_triton.BLOCK} | {name: False for name in kernel.arg_names if name == "OF_CLIP"}
    types = {name: "i64" if name in numbers else "*fp32" for name in kernel.arg_names}
    source = ASTSource(kernel, types | dict.fromkeys(constants, "constexpr"), constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
    assert len(compiled.asm["cubin"]) > 1000
print("compiled")
"""
on_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="there is no Triton for this machine"
)


@on_linux
@pytest.mark.parametrize("capability", [80, 90])
def test_the_gpus_kernels_compile(capability):
    command = [sys.executable, "-c", COMPILED, str(capability)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "compiled", done.stderr


@on_linux
def test_the_gpus_kernels_compute_the_same_in_tritons_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", KERNELS], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "as on the CPU", done.stderr
