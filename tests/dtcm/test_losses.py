"""Each term against plain float64 loops written from the equations, values by hand, and gradients."""

import itertools
import math

import numpy as np
import pytest
import torch

from dtcm import losses
from dtcm.config import LossConfig
from dtcm.errors import BadInput
from dtcm.models import Output


def clips(seed, *shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_region_inconsistency(enhanced_CHW, dark_CHW, signed):
    """Eq. 1 for one frame: loops over regions and their neighbours."""
    h, w = enhanced_CHW.shape[1] // 4, enhanced_CHW.shape[2] // 4
    Y, P = (
        [[image[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean() for c in range(w)] for r in range(h)]
        for image in (enhanced_CHW, dark_CHW)
    )
    total = 0.0
    for r, c in itertools.product(range(h), range(w)):
        for dr, dc in itertools.product((-1, 0, 1), repeat=2):
            i, j = r + dr, c + dc
            if (dr, dc) == (0, 0) or not (0 <= i < h and 0 <= j < w):
                continue
            y, p = Y[r][c] - Y[i][j], P[r][c] - P[i][j]
            total += (y - p) ** 2 if signed else (abs(y) - abs(p)) ** 2
    return total / (h * w)


def naive_sc(enhanced, dark, signed=False):
    frames = enhanced.shape[1]
    return sum(naive_region_inconsistency(enhanced[:, t], dark[:, t], signed) for t in range(frames)) / frames


def naive_tc(enhanced, dark, signed=False):
    return naive_sc(np.abs(np.diff(enhanced, axis=1)), np.abs(np.diff(dark, axis=1)), signed)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 22)])
def test_consistency_equals_loops_over_regions_and_neighbours(signed, height, width):
    enhanced, dark = clips(1, 2, 3, 4, height, width), clips(2, 2, 3, 4, height, width)
    sc = losses.spatial_consistency(enhanced, dark, signed, reduction="none")
    tc = losses.temporal_consistency(enhanced, dark, signed, reduction="none")
    stc = losses.spatio_temporal_consistency(enhanced, dark, signed, reduction="none")
    for b, (e, d) in enumerate(zip(enhanced.numpy(), dark.numpy(), strict=True)):
        assert sc[b].item() == pytest.approx(naive_sc(e, d, signed), rel=1e-12)
        assert tc[b].item() == pytest.approx(naive_tc(e, d, signed), rel=1e-12)
        assert stc[b].item() == pytest.approx(naive_sc(e, d, signed) + naive_tc(e, d, signed), rel=1e-12)


def test_spatial_consistency_of_one_bright_region_by_hand():
    # 3x3 regions, the middle one 0.5 brighter: each of its 8 neighbours deviates by 0.5, counted from both
    # sides, so 16 x 0.25 over 9 regions. At a corner only 3 neighbours exist: 6 x 0.25 over 9.
    dark = torch.zeros(1, 3, 1, 12, 12)
    middle, corner = dark.clone(), dark.clone()
    middle[..., 4:8, 4:8] = 0.5
    corner[..., 0:4, 0:4] = 0.5
    assert losses.spatial_consistency(middle, dark).item() == pytest.approx(16 * 0.25 / 9)
    assert losses.spatial_consistency(corner, dark).item() == pytest.approx(6 * 0.25 / 9)


def test_inverted_contrast_counts_only_where_differences_are_signed():
    dark = clips(3, 1, 3, 2, 16, 16)
    assert losses.spatial_consistency(1 - dark, dark).item() == pytest.approx(0, abs=1e-20)
    assert losses.spatial_consistency(1 - dark, dark, signed=True).item() > 0.01


def test_consistency_ignores_a_constant_gain_in_brightness():
    dark = 0.5 * clips(4, 1, 3, 3, 16, 16)
    assert losses.spatio_temporal_consistency(dark + 0.3, dark).item() == pytest.approx(0, abs=1e-20)


def test_consistency_of_a_half_that_lights_up_by_hand():
    dark = torch.zeros(1, 3, 2, 8, 8, dtype=torch.float64)
    enhanced = dark.clone()
    enhanced[:, :, 1, :, 4:] = 0.4
    # RGB-difference: left regions 0, right 0.4. 2x2 regions: each has 2 deviating neighbours of 0.4².
    assert losses.temporal_consistency(enhanced, dark).item() == pytest.approx(2 * 0.16)
    assert losses.spatial_consistency(enhanced, dark).item() == pytest.approx(0.16)  # half of the frames


def test_temporal_consistency_of_a_single_frame_is_zero():
    enhanced, dark = clips(5, 2, 3, 1, 16, 16), clips(6, 2, 3, 1, 16, 16)
    assert losses.temporal_consistency(enhanced, dark).item() == 0
    assert losses.temporal_consistency(enhanced, dark, reduction="none").tolist() == [0, 0]


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_exposure_equals_a_loop_over_16_px_regions(distance):
    clip = clips(7, 2, 3, 2, 33, 48)
    expected = []
    for b, t, r, c in itertools.product(range(2), range(2), range(2), range(3)):
        off = clip[b, :, t, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16].mean().item() - 0.55
        expected.append(off**2 if distance == "squared" else abs(off))
    value = losses.exposure(clip, level=0.55, distance=distance)
    assert value.item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_exposure_of_a_black_clip_by_hand():
    black = torch.zeros(1, 3, 2, 16, 16)
    assert losses.exposure(black).item() == pytest.approx(0.36)
    assert losses.exposure(black, distance="absolute").item() == pytest.approx(0.6)


def test_the_exposure_level_follows_the_dark_clips_luma_by_hand():
    config = LossConfig(exposure_target="luminance", e_min=0.3, e_max=0.7)
    # Black; a quarter of a normal exposure of 112, whose root is a half; normal; and twice that.
    luma = torch.tensor([0, 28, 112, 224]) / 255
    level = losses.exposure_level(luma.view(4, 1, 1, 1, 1).expand(4, 3, 2, 16, 16), config)
    assert isinstance(level, torch.Tensor)
    assert level.tolist() == pytest.approx([0.3, 0.5, 0.7, 0.7])
    green = torch.tensor([0, 28 / 255, 0]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 16, 16)  # luma is 0.587 of it
    assert float(losses.exposure_level(green, config)) == pytest.approx(0.3 + 0.4 * math.sqrt(0.587 / 4))
    assert losses.exposure_level(green, LossConfig(exposure=0.55)) == 0.55


def test_a_darker_clip_is_never_raised_to_a_higher_level():
    levels = torch.linspace(0, 1, 256).view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 16, 16)
    found = losses.exposure_level(levels, LossConfig(exposure_target="luminance"))
    assert isinstance(found, torch.Tensor)
    assert (found.diff() >= 0).all()
    assert (found[0].item(), found[-1].item()) == pytest.approx((0.4, 0.7))


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_exposure_draws_each_clip_to_its_own_level(distance):
    clip, level = clips(19, 3, 3, 2, 32, 32), torch.tensor([0.4, 0.5, 0.7], dtype=torch.float64)
    found = losses.exposure(clip, level, distance, reduction="none")
    alone = [losses.exposure(clip[b : b + 1], float(level[b]), distance).item() for b in range(3)]
    assert found.tolist() == pytest.approx(alone)


def test_label_smoothing_by_hand():
    # Of three classes, a share of 0.3 spread evenly: targets 0.8, 0.1, 0.1 for the right one.
    output, labels, dark = joint_inputs()
    log_p = output.logits.log_softmax(dim=1)
    targets = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    expected = -(targets * log_p).sum(dim=1).mean()
    parts = losses.joint(output, labels, dark, LossConfig(label_smoothing=0.3)).parts
    assert parts["ar"].item() == pytest.approx(expected.item())


def test_color_constancy_by_hand():
    clip = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, 2, 5, 4)
    squares = [0.3**2, 0.7**2, 0.4**2]
    assert losses.color_constancy(clip).item() == pytest.approx(sum(squares))
    fourth = losses.color_constancy(clip, distance="fourth-root")
    assert fourth.item() == pytest.approx(math.sqrt(sum(square**2 for square in squares)))


def test_color_constancy_is_of_frame_means_and_averaged_over_frames():
    clip = clips(8, 2, 3, 3, 5, 7)
    expected = []
    for b, t in itertools.product(range(2), range(3)):
        red, green, blue = (clip[b, c, t].mean().item() for c in range(3))
        expected.append((red - green) ** 2 + (red - blue) ** 2 + (green - blue) ** 2)
    assert losses.color_constancy(clip).item() == pytest.approx(sum(expected) / 6, rel=1e-12)


@pytest.mark.parametrize("distance", ["squares", "fourth-root"])
def test_color_constancy_of_a_grey_clip_is_zero_with_zero_gradient(distance):
    grey = torch.full((1, 3, 2, 4, 4), 0.3, requires_grad=True)
    value = losses.color_constancy(grey, distance=distance)
    value.backward()
    assert value.item() == 0
    assert grey.grad is not None
    assert torch.equal(grey.grad, torch.zeros_like(grey))


def test_illumination_smoothness_equals_loops_over_pixels():
    curves = clips(9, 2, 3, 24, 4, 5)
    total = 0.0
    for image in curves.flatten(0, 1).numpy():
        vertical = sum((image[c, h + 1, w] - image[c, h, w]) ** 2 for c, h, w in np.ndindex(24, 3, 5))
        horizontal = sum((image[c, h, w + 1] - image[c, h, w]) ** 2 for c, h, w in np.ndindex(24, 4, 4))
        total += 2 * (vertical / (3 * 5) + horizontal / (4 * 4))
    assert losses.illumination_smoothness(curves).item() == pytest.approx(total / 6, rel=1e-12)


TERMS = {
    "sc": lambda clip, dark, curves, **kw: losses.spatial_consistency(clip, dark, **kw),
    "tc": lambda clip, dark, curves, **kw: losses.temporal_consistency(clip, dark, **kw),
    "stc": lambda clip, dark, curves, **kw: losses.spatio_temporal_consistency(clip, dark, **kw),
    "stc signed": lambda clip, dark, curves, **kw: losses.spatio_temporal_consistency(clip, dark, True, **kw),
    "exp": lambda clip, dark, curves, **kw: losses.exposure(clip, **kw),
    "exp absolute": lambda clip, dark, curves, **kw: losses.exposure(clip, distance="absolute", **kw),
    "col": lambda clip, dark, curves, **kw: losses.color_constancy(clip, **kw),
    "col fourth-root": lambda clip, dark, curves, **kw: losses.color_constancy(clip, distance="fourth-root", **kw),
    "tv": lambda clip, dark, curves, **kw: losses.illumination_smoothness(curves, **kw),
}


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS.keys())
def test_gradients_agree_with_finite_differences(term):
    clip, dark, curves = clips(10, 1, 3, 2, 16, 16), clips(11, 1, 3, 2, 16, 16), clips(12, 1, 1, 24, 3, 4)
    clip.requires_grad_()
    curves.requires_grad_()
    # fast_mode compares one random projection, which is enough to see any wrong formula.
    assert torch.autograd.gradcheck(lambda c, r: term(c, dark, r), (clip, curves), fast_mode=True)


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS.keys())
def test_values_of_a_clip_do_not_depend_on_its_batch(term):
    clip, dark, curves = clips(13, 3, 3, 4, 16, 16), clips(14, 3, 3, 4, 16, 16), clips(15, 3, 2, 24, 16, 16)
    together = term(clip, dark, curves, reduction="none")
    alone = [term(clip[b : b + 1], dark[b : b + 1], curves[b : b + 1]) for b in range(3)]
    assert together.shape == (3,)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=0)
    torch.testing.assert_close(term(clip, dark, curves), together.mean(), rtol=1e-12, atol=0)


def joint_inputs():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    enhanced = clips(16, 2, 3, 4, 16, 16).requires_grad_()
    curves = clips(17, 2, 1, 24, 16, 16).requires_grad_()
    return Output(logits, enhanced, curves), torch.tensor([0, 2]), clips(18, 2, 3, 4, 16, 16)


def test_joint_loss_is_equation_7_with_each_weight_once():
    output, labels, dark = joint_inputs()
    total, parts = losses.joint(output, labels, dark, LossConfig(alpha=0.1, w_stc=4, w_col=0.5, w_tv=20))
    e, d, r = output.enhanced, dark, output.curves
    logits = output.logits.detach().numpy()
    ar = -sum(logits[b, y] - math.log(np.exp(logits[b]).sum()) for b, y in enumerate([0, 2])) / 2
    sc, tc = losses.spatial_consistency(e, d).item(), losses.temporal_consistency(e, d).item()
    exp, col, tv = losses.exposure(e).item(), losses.color_constancy(e).item(), losses.illumination_smoothness(r).item()
    expected = {"ar": ar, "sc": sc, "tc": tc, "stc": sc + tc, "exp": exp, "col": col, "tv": tv}
    expected["dark"] = exp + 0.5 * col + 20 * tv
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected)
    assert total.item() == pytest.approx(ar + 0.1 * (4 * (sc + tc) + expected["dark"]))


def test_joint_loss_gives_gradients_to_logits_clip_and_curves_but_its_parts_hold_none():
    output, labels, dark = joint_inputs()
    total, parts = losses.joint(output, labels, dark, LossConfig())
    total.backward()
    assert all(tensor.grad.abs().max() > 0 for tensor in output)
    assert not any(part.requires_grad for part in parts.values())


def test_joint_loss_without_alpha_is_the_action_loss():
    output, labels, dark = joint_inputs()
    total, parts = losses.joint(output, labels, dark, LossConfig(alpha=0))
    assert total.item() == parts["ar"].item()


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ({"exposure": 0.2}, "exp"),
        ({"exposure_target": "luminance"}, "exp"),
        ({"exposure_distance": "absolute"}, "exp"),
        ({"color_distance": "fourth-root"}, "col"),
        ({"signed_differences": True}, "sc"),
        ({"signed_differences": True}, "tc"),
    ],
)
def test_joint_loss_obeys_the_options(option, part):
    output, labels, dark = joint_inputs()
    default = losses.joint(output, labels, dark, LossConfig()).parts[part]
    chosen = losses.joint(output, labels, dark, LossConfig(**option)).parts[part]
    assert abs(chosen.item() - default.item()) > 1e-4


def test_joint_loss_of_an_unevenly_split_batch_is_the_mean_over_clips():
    output, labels, dark = joint_inputs()
    whole = losses.joint(output, labels, dark, LossConfig()).total
    halves = [
        losses.joint(Output(*(t[b : b + 1] for t in output)), labels[b : b + 1], dark[b : b + 1], LossConfig()).total
        for b in range(2)
    ]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-12, atol=0)


def test_frames_smaller_than_a_region_are_refused():
    small = torch.rand(1, 3, 2, 12, 12)
    with pytest.raises(BadInput, match="at least 16 px"):
        losses.exposure(small)
