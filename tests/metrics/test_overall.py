"""Global metrics from one confusion matrix, worked by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from steelyard.confusion import from_matrix
from steelyard.metrics import METRICS
from steelyard.metrics.boundary_match import SliceScores
from steelyard.metrics.overall import ClassTotals, mean_bf_score, mean_bf_score_missing_as_zero

M = np.array([[50, 3, 2], [4, 20, 1], [0, 5, 15]])  # rows: reference; 100 voxels
NO_SLICES = SliceScores(np.full((1, 3), np.nan), np.full((1, 3), np.nan))


def totals(matrix):
    return ClassTotals(from_matrix(np.array(matrix)), NO_SLICES)


BY_HAND = {
    "global_accuracy": 85 / 100,
    "mean_sensitivity": (50 / 55 + 20 / 25 + 15 / 20) / 3,
    "weighted_accuracy": 85 / 100,
    "mean_iou": (50 / 59 + 20 / 33 + 15 / 23) / 3,
    "weighted_iou": 0.55 * 50 / 59 + 0.25 * 20 / 33 + 0.20 * 15 / 23,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_matrix_of_a_hundred_voxels_gives_the_values_worked_by_hand(name):
    assert METRICS[name](totals(M)) == pytest.approx(BY_HAND[name], abs=1e-12)


def test_scikit_learn_gives_the_same():
    truth, found = np.repeat(np.indices(M.shape).reshape(2, -1), M.ravel(), axis=1)
    assert METRICS["global_accuracy"](totals(M)) == pytest.approx(oracle.accuracy_score(truth, found))
    assert METRICS["mean_sensitivity"](totals(M)) == pytest.approx(oracle.balanced_accuracy_score(truth, found))
    assert METRICS["mean_iou"](totals(M)) == pytest.approx(oracle.jaccard_score(truth, found, average="macro"))
    assert METRICS["weighted_iou"](totals(M)) == pytest.approx(oracle.jaccard_score(truth, found, average="weighted"))


def test_a_class_that_nobody_has_is_left_out_and_an_invented_one_counts_in_the_iou_only():
    absent = totals([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert METRICS["mean_sensitivity"](absent) == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert METRICS["mean_iou"](absent) == pytest.approx((6 / 9 + 3 / 6) / 2)
    invented = totals([[6, 1, 1], [1, 3, 0], [0, 0, 0]])
    assert METRICS["mean_sensitivity"](invented) == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert METRICS["mean_iou"](invented) == pytest.approx((6 / 9 + 3 / 5 + 0) / 3)
    assert METRICS["weighted_iou"](invented) == pytest.approx((8 * 6 / 9 + 4 * 3 / 5) / 12)


def test_no_voxels_give_no_score():
    assert [METRICS[name](totals(np.zeros((3, 3), int))) for name in BY_HAND] == [None] * 5


def test_mean_bf_score_averages_over_classes_first_and_over_slices_then():
    """Means of the slices: .75, none, .2; so .475, where the mean of the three numbers at once would be .567."""
    nan = np.nan
    matlab = np.array([[1, 0.5, nan], [nan, nan, nan], [0.2, nan, nan]])
    with_zeros = np.array([[1, 0.5, 0], [nan, nan, nan], [0.2, nan, nan]])
    slices = ClassTotals(from_matrix(M), SliceScores(matlab, with_zeros))
    assert mean_bf_score(slices) == pytest.approx((0.75 + 0.2) / 2)
    assert mean_bf_score_missing_as_zero(slices) == pytest.approx((0.5 + 0.2) / 2)


def test_global_names_in_tables_are_those_of_the_study():
    names = {METRICS[name].name for name in METRICS if METRICS[name].reads == "classes"}
    assert names == {
        "accuracy",
        "mean_sensitivity",
        "weighted_accuracy",
        "mean_iou",
        "weighted_iou",
        "mean_bf_score",
    }
