"""The curve and keyframe sharing against per-frame loops; the networks against numpy."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from dtcm.errors import BadInput
from dtcm.models import create_enhancer, load_pretrained
from dtcm.models.enhancers import apply_curves, keyframes

NAMES = ["light", "zero-dce"]


def random_enhancer(name):
    """An enhancer with curves far from 0 (fresh ones are nearly flat), in eval mode."""
    torch.manual_seed(0)
    enhancer = create_enhancer(name).eval()
    for parameter in enhancer.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return enhancer


@pytest.mark.parametrize(("name", "parameters"), [("light", 23_768), ("zero-dce", 79_416)])
def test_parameter_counts_are_the_papers(name, parameters):
    assert sum(parameter.numel() for parameter in create_enhancer(name).parameters()) == parameters


def test_keyframes_are_the_middles_of_their_groups():
    assert keyframes(8, 4) == [2, 6]
    assert keyframes(10, 4) == [2, 6, 9]  # the last group has two frames: 8 + 2 // 2
    assert keyframes(9, 4) == [2, 6, 8]
    assert keyframes(3, 16) == [1]
    assert keyframes(3, 1) == [0, 1, 2]
    assert keyframes(16, 16) == [8]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(BadInput, match="choose 1 or more"):
        create_enhancer("light")(torch.rand(1, 3, 2, 8, 8), k=k)


@pytest.mark.parametrize("frames", [1, 7, 16, 19])
@pytest.mark.parametrize("k", range(1, 17))
def test_sharing_equals_a_loop_over_frames(k, frames):
    enhancer = random_enhancer("zero-dce")
    clip = torch.rand(2, 3, frames, 6, 5)
    with torch.no_grad():
        enhanced, curves = enhancer(clip, k=k)
        assert curves.shape == (2, -(-frames // k), 24, 6, 5)
        for t in range(frames):
            start = t // k * k
            length = min(k, frames - start)
            R = enhancer.curves(clip[:, :, start + length // 2])
            torch.testing.assert_close(curves[:, t // k], R)
            x = clip[:, :, t]
            for i in range(8):
                x = x + R[:, 3 * i : 3 * i + 3] * (x**2 - x)
            torch.testing.assert_close(enhanced[:, :, t], x)


@pytest.mark.parametrize("name", NAMES)
def test_k_of_one_enhances_each_frame_by_itself(name):
    enhancer = random_enhancer(name)
    clip = torch.rand(1, 3, 5, 8, 8)
    with torch.no_grad():
        together = enhancer(clip, k=1).clip
        alone = torch.cat([enhancer(clip[:, :, t : t + 1], k=1).clip for t in range(5)], dim=2)
    torch.testing.assert_close(together, alone)


def test_curve_by_hand():
    # r = -1 at each of the eight: 1 - x is squared each time, so x becomes 1 - (1 - x)^256. r = 1: x^256.
    clip = torch.tensor([0.0, 0.001, 0.01, 0.5, 1.0], dtype=torch.float64).expand(1, 3, 1, 1, 5)
    ones = torch.ones(1, 1, 24, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(apply_curves(clip, -ones, 1), 1 - (1 - clip) ** 256)
    torch.testing.assert_close(apply_curves(clip, ones, 1), clip**256)
    assert torch.equal(apply_curves(clip, 0 * ones, 1), clip)


def test_each_colour_and_iteration_has_its_own_map():
    clip = torch.full((1, 3, 1, 1, 1), 0.5, dtype=torch.float64)
    R = torch.zeros(1, 1, 24, 1, 1, dtype=torch.float64)
    R[0, 0, 1] = -1  # first iteration, green
    R[0, 0, 5] = -0.5  # second iteration, blue
    torch.testing.assert_close(apply_curves(clip, R, 1).flatten(), torch.tensor([0.5, 0.75, 0.625]).double())


def test_curve_stays_in_range_for_every_float32_near_the_ends():
    near_one = 1 - torch.arange(2**16) / 2**24
    near_zero = torch.arange(2**16) / 2**24
    between = torch.linspace(0, 1, 2**16)
    clip = torch.cat([near_one, near_zero, between]).expand(1, 3, 1, 1, -1)
    for r in (-1, -1 + 2**-24, -0.999, -0.3, 0, 0.3, 0.999, 1 - 2**-24, 1):
        enhanced = apply_curves(clip, torch.full((1, 1, 24, 1, clip.shape[-1]), float(r)), 1)
        assert enhanced.min() >= 0
        assert enhanced.max() <= 1


def test_curve_has_the_gradient_of_finite_differences():
    clip = torch.rand(1, 3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    curves = (2 * torch.rand(1, 2, 24, 2, 2, dtype=torch.float64) - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, r: apply_curves(x, r, 2), (clip, curves))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_a_fresh_enhancer_gets_a_finite_gradient(name):
    torch.manual_seed(0)
    enhancer = create_enhancer(name)
    enhancer(torch.rand(2, 3, 4, 16, 16), k=2).clip.square().mean().backward()
    for parameter_name, parameter in enhancer.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_start_from_a_narrow_normal_distribution(name):
    torch.manual_seed(0)
    weights = [p for p in create_enhancer(name).parameters() if p.dim() == 4]
    values = torch.cat([weight.detach().flatten() for weight in weights])
    assert values.std().item() == pytest.approx(0.02, rel=0.03)
    assert abs(values.mean().item()) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_bfloat16_network_still_gives_float32_clips_and_curves_in_range(name):
    enhancer = random_enhancer(name)
    clip = 0.1 * torch.rand(1, 3, 4, 16, 16)
    with torch.no_grad():
        exact = enhancer(clip, k=2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            enhanced, curves = enhancer(clip, k=2)
    assert enhanced.dtype == curves.dtype == torch.float32
    assert 0 <= enhanced.min() <= enhanced.max() <= 1
    # bfloat16 keeps 8 bits: the curves differ a little, so convolutions did run in it, but not by much.
    assert 1e-5 < (curves - exact.curves).abs().max() < 0.2
    torch.testing.assert_close(enhanced, apply_curves(clip, curves, 2))


def numpy_conv(x_CHW, weight, bias=None, groups=1):
    """Zero-padded 'same' convolution as a sum of scipy correlations, in float64."""
    out_channels, in_per_group = weight.shape[:2]
    per_group = out_channels // groups
    y = np.zeros((out_channels, *x_CHW.shape[1:]))
    for o in range(out_channels):
        first = o // per_group * in_per_group
        for i in range(in_per_group):
            y[o] += correlate(x_CHW[first + i], weight[o, i], mode="same")
    return y if bias is None else y + bias[:, None, None]


def numpy_batch_norm(x_CHW, raw, name):
    scale = raw[f"{name}.weight"] / np.sqrt(raw[f"{name}.running_var"] + 1e-5)
    return (x_CHW - raw[f"{name}.running_mean"][:, None, None]) * scale[:, None, None] + raw[f"{name}.bias"][
        :, None, None
    ]


def numpy_curve(image, R):
    for i in range(8):
        image = image + R[3 * i : 3 * i + 3] * (image**2 - image)
    return image


def test_zero_dce_with_public_weights_equals_scipy_convolutions(reference):
    path = reference / "reference" / "weights" / "zero_dce_Epoch99.pth"
    enhancer = create_enhancer("zero-dce")
    report = load_pretrained(enhancer, path)
    assert len(report.loaded) == 14
    assert report.replaced == report.missing == report.unexpected == ()

    public = torch.load(path, map_location="cpu", weights_only=True)
    raw = {name: tensor.double().numpy() for name, tensor in public.items()}
    image = 0.2 * np.random.default_rng(0).random((3, 9, 11))
    x = {0: image}
    for layer, inputs in ((1, (0,)), (2, (1,)), (3, (2,)), (4, (3,)), (5, (3, 4)), (6, (2, 5)), (7, (1, 6))):
        stacked = np.concatenate([x[i] for i in inputs])
        y = numpy_conv(stacked, raw[f"e_conv{layer}.weight"], raw[f"e_conv{layer}.bias"])
        x[layer] = np.maximum(y, 0) if layer < 7 else np.tanh(y)

    with torch.no_grad():
        enhanced, curves = enhancer(torch.from_numpy(image).float()[None, :, None], k=1)
    np.testing.assert_allclose(curves[0, 0].numpy(), x[7], atol=1e-5)
    np.testing.assert_allclose(enhanced[0, :, 0].numpy(), numpy_curve(image, x[7]), atol=1e-5)
    assert enhanced.mean() > 2 * image.mean()  # the public weights brighten


def test_light_enhancer_equals_shufflenet_units_in_numpy():
    enhancer = random_enhancer("light")
    for name, buffer in enhancer.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    raw = {name: tensor.double().numpy() for name, tensor in enhancer.state_dict().items()}

    def layers(x, prefix, kinds):
        """A branch: p is pointwise, BN, ReLU (three modules); d is depthwise with bias, BN (two)."""
        index = 0
        for kind in kinds:
            name = f"{prefix}.{index}"
            x = numpy_conv(x, raw[f"{name}.weight"], raw.get(f"{name}.bias"), groups=1 if kind == "p" else len(x))
            x = numpy_batch_norm(x, raw, f"{prefix}.{index + 1}")
            x = np.maximum(x, 0) if kind == "p" else x
            index += 3 if kind == "p" else 2
        return x

    def shuffle(first, second):
        return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])  # a0 b0 a1 b1 ...

    def basic(x, prefix):
        return shuffle(x[:16], layers(x[16:], f"{prefix}.branch", "pdp"))

    def two_branches(x, prefix):
        return shuffle(layers(x, f"{prefix}.branch1", "dp"), layers(x, f"{prefix}.branch2", "pdp"))

    image = np.random.default_rng(0).random((3, 7, 6))
    x1 = np.maximum(numpy_conv(image, raw["layer1.0.weight"], raw["layer1.0.bias"]), 0)
    x2 = basic(x1, "layer2")
    x3 = basic(x2, "layer3")
    x4 = basic(x3, "layer4")
    x5 = two_branches(np.concatenate([x3, x4]), "layer5")
    x6 = two_branches(np.concatenate([x2, x5]), "layer6")
    R = np.tanh(numpy_conv(np.concatenate([x1, x6]), raw["layer7.weight"], raw["layer7.bias"]))

    with torch.no_grad():
        curves = enhancer.curves(torch.from_numpy(image).float()[None])
    np.testing.assert_allclose(curves[0].numpy(), R, atol=1e-4)
    assert np.abs(R).mean() > 0.1
