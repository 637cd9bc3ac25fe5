import numpy as np
import pytest

from dtcm.gate import Judged, Limits, better_than_chance, compare, paired

CLASSES = ["sit"] * 30 + ["walk"] * 30
DV = np.r_[np.full(40, -0.9), np.full(20, -0.8)]


def judged(wrong, latency_s=0.1, weights_bytes=100):
    right = np.ones(60, bool)
    right[list(wrong)] = False
    return Judged(right, latency_s, weights_bytes)


def failed(challenger, champion, limits=None):
    checks = compare(challenger, champion, CLASSES, DV, limits or Limits())
    return [check.name for check in checks if not check.passed]


def test_a_better_model_as_fast_and_small_passes():
    assert failed(judged([0, 1]), judged(range(10))) == []


def test_a_model_that_is_only_luckier_is_refused():
    # 3 gained, 1 lost: p = 2 (1 + 4) / 16 = 0.625.
    assert paired(judged([59]).right, judged([0, 1, 2]).right)["p"] == pytest.approx(0.625)
    assert failed(judged([59]), judged([0, 1, 2])) == ["better"]


def test_an_equal_model_passes_only_where_a_margin_is_allowed():
    same = judged([0, 1])
    assert failed(same, same) == ["better"]
    assert failed(same, same, Limits(margin=0.1)) == []  # z²/(60 + z²) is 6.0 %
    assert failed(same, same, Limits(margin=0.05)) == ["better"]


def test_gains_elsewhere_do_not_pay_for_a_class():
    # All of walk is won, three clips of sit are lost: more than one and more than 5 % of 30.
    checks = {check.name: check for check in compare(judged([0, 1, 2]), judged(range(30, 60)), CLASSES, DV, Limits())}
    assert not checks["classes"].passed
    assert "sit loses 3 of 30" in checks["classes"].says


def test_nor_for_the_darkest_videos():
    # At -0.9 five clips are won and eight lost, at -0.8 twenty won.
    checks = {c.name: c for c in compare(judged(range(8)), judged([*range(35, 60)]), CLASSES, DV, Limits())}
    assert "-0.95 to -0.877 loses 3 of 40" in checks["bins of darkness"].says
    assert not checks["bins of darkness"].passed


def test_one_clip_of_a_class_may_be_lost():
    assert failed(judged([0]), judged(range(30, 60))) == []


@pytest.mark.parametrize(("cost", "name"), [({"latency_s": 0.13}, "latency"), ({"weights_bytes": 130}, "size")])
def test_slower_or_larger_than_allowed_is_refused(cost, name):
    assert failed(judged([], **cost), judged(range(10))) == [name]


def test_a_first_champion_has_to_beat_chance_for_certain():
    assert better_than_chance(np.r_[np.ones(9, bool), False], 2).passed
    assert not better_than_chance(np.r_[np.ones(6, bool), np.zeros(4, bool)], 2).passed
