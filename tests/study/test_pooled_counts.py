"""The study's pooled multiclass counts, by hand, and what they cannot see."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from steelyard.confusion import Confusion
from steelyard.study.pooled_counts import POOLED_INDICES, auc_of_one_point, pooled_index, pooled_multiclass_counts

#                     TP TP TP  FP FP FP FP  FN FN  TN TN TN TN TN  none
REFERENCE = np.array([1, 2, 2, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 1])
PREDICTION = np.array([1, 2, 2, 1, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 2])


def test_counts_of_fifteen_voxels_worked_by_hand():
    counts = pooled_multiclass_counts(REFERENCE, PREDICTION)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (3, 4, 2, 5)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        ("accuracy", 8 / 14),
        ("sensitivity", 3 / 5),
        ("specificity", 5 / 9),
        ("precision", 3 / 7),
        ("iou", 3 / 9),
        ("dice", 6 / 12),
    ],
)
def test_indices_of_the_pooled_counts(index, value):
    assert pooled_index(index, pooled_multiclass_counts(REFERENCE, PREDICTION)) == pytest.approx(value)


def test_two_organs_that_change_names_leave_every_index_perfect():
    reference = np.array([0, 0, 0, 1, 1, 1, 1, 2, 3, 3])
    exchanged = np.array([0, 0, 0, 1, 1, 1, 1, 2, 3, 3])
    exchanged[reference == 2], exchanged[reference == 3] = 3, 2
    counts = pooled_multiclass_counts(reference, exchanged)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (4, 0, 0, 3)
    assert [pooled_index(name, counts) for name in POOLED_INDICES] == [1.0] * 6


def test_an_index_of_nothing_is_undefined():
    empty = pooled_multiclass_counts(np.zeros(5, int), np.zeros(5, int))
    assert pooled_index("iou", empty) is None
    assert pooled_index("specificity", empty) == 1
    assert auc_of_one_point(empty) is None


def test_the_area_of_one_point_is_that_of_decisions_taken_for_scores():
    reference = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    decided = np.array([1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    counts = Confusion(tp=4, fp=3, fn=1, tn=5)
    assert auc_of_one_point(counts) == pytest.approx((4 / 5 + 5 / 8) / 2)
    assert auc_of_one_point(counts) == pytest.approx(roc_auc_score(reference, decided))
