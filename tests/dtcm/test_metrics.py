import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from dtcm import metrics

LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 2.0, 3.0], [5.0, 4.0, 3.0]])
LABELS = np.array([0, 1, 1, 2])


def test_top_k_counts_labels_among_the_k_largest():
    # By hand: rows 0 and 1 are right at once, row 2's label is second, row 3's is last.
    assert [metrics.topk_accuracy(LOGITS, LABELS, k) for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]


def test_wilson_interval_matches_a_published_example():
    # Newcombe (1998), Statistics in Medicine 17:857, Table I: 15 of 148, method 3: 0.0624 to 0.1605.
    low, high = metrics.wilson_interval(15 / 148, 148)
    assert (low, high) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_interval_solves_its_defining_equation():
    # The bounds are the p with (accuracy - p)² = z² p (1 - p) / n.
    for accuracy, n in ((0.3, 50), (0.0, 7), (1.0, 12)):
        for bound in metrics.wilson_interval(accuracy, n):
            assert (accuracy - bound) ** 2 == pytest.approx(metrics.Z95**2 * bound * (1 - bound) / n, abs=1e-12)


def test_confusion_rows_are_true_classes():
    matrix = metrics.confusion(LOGITS, LABELS)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_summary_holds_chance_and_the_mean_inconsistency():
    figures = metrics.summary(LOGITS, LABELS, np.array([0.1, 0.2, 0.3, 0.4]))
    assert figures["chance"] == pytest.approx(1 / 3)
    assert figures["inconsistency"] == pytest.approx(0.25)
    assert figures["top1_low"] < figures["top1"] < figures["top1_high"]
    assert figures["clips"] == 4


def test_calibration_error_by_hand():
    # Confidence 0.8 twice, right once; confidence 0.6 once, right: (2/3)|0.5 - 0.8| + (1/3)|1 - 0.6|.
    logits = np.log([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
    labels = np.array([0, 1, 1])
    assert metrics.calibration_error(logits, labels) == pytest.approx(2 / 3 * 0.3 + 1 / 3 * 0.4)
    assert [clips for _, _, clips in metrics.reliability(logits, labels)] == [1, 2]


def test_a_model_that_is_always_right_and_sure_is_calibrated():
    assert metrics.calibration_error(np.array([[50.0, 0.0], [0.0, 50.0]]), np.array([0, 1])) == pytest.approx(0)


def test_bins_of_darkness_share_their_edges_with_the_brighter_one():
    assert metrics.dv_bins(np.array([-1.0, -0.95, -0.9, -0.877, 0.3])) == [
        "-1 to -0.95",
        "-0.95 to -0.877",
        "-0.95 to -0.877",
        "-0.877 to -0.75",
        "above -0.5",
    ]


def test_groups_count_their_right_clips():
    right = np.array([True, False, True, True])
    assert metrics.group_accuracy(right, ["b", "a", "a", "b"]) == {"a": (1, 2), "b": (2, 2)}


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (9, 1), (7, 7), (30, 45)])
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert metrics.mcnemar(gained, lost) == pytest.approx(expected)


def likelihood_score(gained, lost, clips, delta):
    """Tango's statistic with the constrained maximum of the likelihood found by search instead of by formula."""
    bounds = (max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12)

    def minus_log(share):
        rest = (clips - gained - lost) * np.log(1 - 2 * share - delta)
        return -(gained * np.log(share + delta) + lost * np.log(share) + rest)

    share = minimize_scalar(minus_log, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - clips * delta) / np.sqrt(clips * (2 * share + delta - delta**2))


@pytest.mark.parametrize(("gained", "lost", "clips"), [(9, 1, 44), (3, 7, 20), (1, 0, 44), (60, 40, 500)])
def test_the_paired_interval_ends_where_the_score_is_the_quantile(gained, lost, clips):
    low, high = metrics.paired_interval(gained, lost, clips)
    assert likelihood_score(gained, lost, clips, low) == pytest.approx(metrics.Z95, abs=1e-4)
    assert likelihood_score(gained, lost, clips, high) == pytest.approx(-metrics.Z95, abs=1e-4)


def test_two_models_that_are_never_apart_on_few_clips_may_still_differ():
    low, high = metrics.paired_interval(0, 0, 10)
    assert (low, high) == pytest.approx(
        (-(metrics.Z95**2) / (10 + metrics.Z95**2), metrics.Z95**2 / (10 + metrics.Z95**2))
    )
