import math

import numpy as np
import pytest
from scipy import stats

from dtcm.tables.statistics import T975, accuracy, paired_difference


def test_one_seed_has_an_interval_over_clips_only():
    found = accuracy([0.75], clips=20)
    # Wilson: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z, n = 1.959964, 20
    half = z * math.sqrt(0.75 * 0.25 / n + z * z / (4 * n * n))
    assert found.mean == 0.75
    assert found.low == pytest.approx((0.75 + z * z / (2 * n) - half) / (1 + z * z / n), abs=1e-6)
    assert found.high == pytest.approx((0.75 + z * z / (2 * n) + half) / (1 + z * z / n), abs=1e-6)
    assert found.seeds is None


def test_three_seeds_by_hand():
    found = accuracy([0.6, 0.7, 0.8], clips=50)
    assert found.mean == pytest.approx(0.7)
    assert found.seeds == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert found[:3] == pytest.approx(accuracy([0.7], clips=50)[:3])  # another seed is no new clip


def test_quantiles_are_students():
    assert pytest.approx(stats.t.ppf(0.975, range(1, 10)), abs=5e-4) == T975
    many = accuracy([0.4, 0.6] * 8, clips=10).seeds
    assert many is not None
    assert many > stats.t.ppf(0.975, 15) * np.std([0.4, 0.6] * 8, ddof=1) / 4


def test_a_model_against_itself_differs_by_nothing():
    right = np.random.default_rng(0).random((2, 30)) < 0.5
    assert paired_difference(right, right) == (0, 0, 0)


def test_difference_counts_the_clips_on_which_two_models_part():
    reference = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    ours = np.array([[1, 1, 0, 1, 1, 1, 0, 0, 0, 0]])
    found = paired_difference(ours, reference)
    assert found.mean == pytest.approx((3 - 1) / 10)
    assert found.low < found.mean < found.high


def test_bootstrap_of_a_pure_gain_is_binomial():
    """Where one model is right on 40 of 200 clips more and never less, a resample's gain is binomial."""
    reference, ours = np.zeros((1, 200)), np.zeros((1, 200))
    ours[0, :40] = 1
    found = paired_difference(ours, reference)
    assert (found.low, found.high) == pytest.approx(stats.binom.ppf((0.025, 0.975), 200, 0.2) / 200, abs=0.0051)


def test_seeds_are_averaged_before_the_clips_are_drawn():
    """Half the seeds right on every clip, in whatever order: no clip differs from another."""
    ours = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])
    assert paired_difference(ours, np.zeros((1, 4))) == pytest.approx((0.5, 0.5, 0.5))
