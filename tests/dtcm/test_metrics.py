import numpy as np
import pytest

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
    assert metrics.per_class_accuracy(matrix) == [1.0, 0.5, 0.0]


def test_a_class_without_clips_has_no_accuracy():
    assert np.isnan(metrics.per_class_accuracy(np.array([[2, 0], [0, 0]]))[1])


def test_summary_holds_chance_and_the_mean_inconsistency():
    figures = metrics.summary(LOGITS, LABELS, np.array([0.1, 0.2, 0.3, 0.4]))
    assert figures["chance"] == pytest.approx(1 / 3)
    assert figures["inconsistency"] == pytest.approx(0.25)
    assert figures["top1_low"] < figures["top1"] < figures["top1_high"]
    assert figures["clips"] == 4
