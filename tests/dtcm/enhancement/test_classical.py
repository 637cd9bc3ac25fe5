"""Classical methods against OpenCV, scipy and loops in float64; what holds for all methods."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import fminbound
from scipy.sparse import diags_array, eye_array, kron
from scipy.sparse.linalg import spsolve

from dtcm.enhancement import METHODS, bimef, fusion, gic, he, histogram, lime, msr
from dtcm.enhancement.retinex import multi_scale_retinex

CLASSICAL = ["gic", "he", "msr", "lime", "bimef"]


def frames_of(clip):
    """[B, C, T, H, W] to a list of float64 [H, W, C]."""
    return [clip[b, :, t].permute(1, 2, 0).double().numpy() for b in range(clip.shape[0]) for t in range(clip.shape[2])]


def smoothed(x, down, right):
    """The weighted least squares of LIME and BIMEF as Dᵀ W D by Kronecker products."""
    height, width = x.shape
    d = [diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n - 1, n)) for n in (height, width)]
    D_down, D_right = kron(d[0], eye_array(width)), kron(eye_array(height), d[1])
    matrix = eye_array(x.size) + D_down.T @ diags_array(down[:-1].ravel()) @ D_down
    matrix = matrix + D_right.T @ diags_array(right[:, :-1].ravel()) @ D_right
    return spsolve(matrix.tocsc(), x.ravel()).reshape(x.shape)


def gradients(x):
    return np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])


def test_gic_is_a_power(dark_clip):
    x = torch.tensor([0.0, 0.01, 0.25, 1.0]).reshape(1, 1, 1, 2, 2)
    assert gic(x, gamma=2).flatten().tolist() == pytest.approx([0, 0.1, 0.5, 1])
    np.testing.assert_allclose(gic(dark_clip), dark_clip.numpy() ** 0.1, rtol=1e-5)  # ARID's script: gamma 10


def test_equalised_luma_is_opencvs(dark_clip):
    for frame in frames_of(dark_clip):
        rgb = (255 * frame).round().astype(np.uint8)
        y = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[:, :, 0]
        ours = histogram._luma(torch.from_numpy(rgb).float().permute(2, 0, 1)[None])
        assert np.array_equal(ours[0], y)
        table = histogram._table(ours)[0].numpy()
        assert np.array_equal(table[y], cv2.equalizeHist(y))


def test_equalised_frames_are_opencvs_but_for_its_rounding_of_colour(dark_clip):
    for frame, ours in zip(frames_of(dark_clip), frames_of(he(dark_clip)), strict=True):
        ycrcb = cv2.cvtColor((255 * frame).round().astype(np.uint8), cv2.COLOR_RGB2YCrCb)
        ycrcb[:, :, 0] = cv2.equalizeHist(ycrcb[:, :, 0])
        difference = np.abs(255 * ours - cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB))
        assert difference.max() <= 2  # Cr and Cb are rounded to a level there, and doubled on the way back
        assert difference.mean() < 0.5


def test_retinex_is_the_mean_log_ratio_to_three_gaussians(dark_clip):
    frames = frames_of(dark_clip)
    ours = multi_scale_retinex(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    for frame, retinex in zip(frames, ours, strict=True):
        for c in range(3):
            x = 255 * frame[:, :, c] + 1
            expected = np.mean([np.log(x / gaussian_filter(x, sigma)) for sigma in (15, 80, 250)], axis=0)
            np.testing.assert_allclose(retinex[:, :, c], expected, atol=1e-10)


def test_msr_stretches_each_colour_between_its_one_percent_ends(dark_clip):
    for frame, ours in zip(frames_of(dark_clip), frames_of(msr(dark_clip)), strict=True):
        for c in range(3):
            x = 255 * frame[:, :, c] + 1
            retinex = np.mean([np.log(x) - np.log(gaussian_filter(x, sigma)) for sigma in (15, 80, 250)], axis=0)
            ordered = np.sort(retinex, axis=None)  # 2080 pixels: 20 are cut off at either end
            expected = np.clip((retinex - ordered[20]) / (ordered[-21] - ordered[20]), 0, 1)
            np.testing.assert_allclose(ours[:, :, c], expected, atol=1e-4)


def test_lime_divides_by_the_refined_illumination(dark_clip):
    for frame, ours in zip(frames_of(dark_clip), frames_of(lime(dark_clip)), strict=True):
        first = frame.max(axis=2)
        weights = [0.15 / (np.abs(gaussian_filter(d, 2)) + 1e-3) / (np.abs(d) + 1e-3) for d in gradients(first)]
        refined = smoothed(first, *weights)
        np.testing.assert_allclose(ours, np.minimum(frame / refined[:, :, None] ** 0.8, 1), atol=1e-4)


def entropy_bits(values, k):
    gamma = k**-0.3293
    levels = np.clip(np.exp(1.1258 * (1 - gamma)) * values**gamma, 0, 1)
    share = np.bincount((255 * levels).round().astype(int), minlength=256) / len(values)
    return -(share[share > 0] * np.log2(share[share > 0])).sum()


def test_bimef_finds_as_much_entropy_as_a_search_over_all_ratios():
    rng = np.random.default_rng(0)
    for level in (0.04, 0.1, 0.25):
        grey = np.abs(rng.normal(level, level / 2, (50, 50))).clip(0, 0.45)
        frames = torch.from_numpy(grey).float().expand(1, 3, 50, 50)
        k = fusion.best_ratio(frames, frames[:, 0]).item()
        values = frames[0, 0].double().numpy().ravel()
        searched = fminbound(lambda k, v=values: -entropy_bits(v, k), 1, 7)
        assert 1 <= k <= 7
        assert entropy_bits(values, k) >= entropy_bits(values, searched) - 0.05
        assert entropy_bits(values, k) >= max(entropy_bits(values, k) for k in np.arange(1, 7.05, 0.5)) - 1e-3


def test_bimef_leaves_what_is_well_lit():
    bright = torch.linspace(0.7, 1, 900).reshape(1, 1, 1, 30, 30).expand(1, 3, 1, 30, 30)
    torch.testing.assert_close(bimef(bright), bright)


def test_bimef_illumination_is_smoothed_as_its_weights_say(dark_clip):
    frames = dark_clip[:, :, 0]
    half = fusion._resize(frames.amax(dim=1, keepdim=True), (20, 26))[:, 0].double().numpy()
    expected = []
    for x in half:
        down, right = gradients(x)
        box = [
            np.stack([np.convolve(column, np.ones(5), mode="same") for column in down.T]).T,
            np.stack([np.convolve(row, np.ones(5), mode="same") for row in right]),
        ]
        weights = [0.5 / (np.abs(b) * np.abs(d) + 1e-3) for b, d in zip(box, (down, right), strict=True)]
        expected.append(smoothed(x, *weights))
    full = fusion._resize(torch.from_numpy(np.stack(expected))[:, None].float(), (40, 52))[:, 0]
    torch.testing.assert_close(fusion.illumination(frames), full, atol=1e-5, rtol=0)


def test_bimef_mixes_frame_and_longer_exposure(dark_clip):
    frames = dark_clip[:, :, 0]
    t = fusion.illumination(frames)
    k = fusion.best_ratio(frames, t)
    assert (k > 1).all()
    for frame, t_HW, ratio, ours in zip(frames, t, k, bimef(dark_clip)[:, :, 0], strict=True):
        x, weight, gamma = frame.double().numpy(), np.sqrt(t_HW.double().numpy()), ratio.item() ** -0.3293
        longer = np.exp(1.1258 * (1 - gamma)) * x**gamma - 0.01
        np.testing.assert_allclose(ours, np.clip(x * weight + longer * (1 - weight), 0, 1), atol=1e-5)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_dark_clip_becomes_brighter(name, dark_clip):
    assert METHODS[name]()(dark_clip).mean() > 1.3 * dark_clip.mean()


def test_none_is_the_clip_itself(dark_clip):
    assert METHODS["none"]()(dark_clip) is dark_clip


@pytest.mark.parametrize("name", sorted(METHODS))
def test_frames_are_brightened_alone_without_gradient_and_stay_in_range(name, dark_clip):
    torch.manual_seed(0)
    method = METHODS[name]()
    assert not any(parameter.requires_grad for parameter in method.parameters())
    enhanced = method(dark_clip.clone().requires_grad_() if name != "none" else dark_clip)
    assert enhanced.shape == dark_clip.shape
    assert enhanced.dtype == torch.float32
    assert not enhanced.requires_grad
    assert enhanced.min() >= 0
    assert enhanced.max() <= 1
    alone = method(dark_clip[1:, :, 2:])
    torch.testing.assert_close(alone, enhanced[1:, :, 2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("name", CLASSICAL)
def test_flat_frames_give_flat_numbers(name, level):
    enhanced = METHODS[name]()(torch.full((1, 3, 2, 24, 18), level))
    assert torch.isfinite(enhanced).all()
    assert enhanced.max() - enhanced.min() < 1e-3
    assert enhanced.mean() >= level - 1e-3


def test_he_and_msr_leave_flat_frames(dark_clip):
    flat = torch.full((1, 3, 1, 8, 8), 20 / 255)
    torch.testing.assert_close(he(flat), flat)
    torch.testing.assert_close(msr(flat), flat)
