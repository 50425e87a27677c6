"""Overlap metrics against counts worked out by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from masks import blob, pair_of
from steelyard.metrics import METRICS

# 24 voxels: TP 3, FP 1, FN 2, TN 18, all different.
REFERENCE = np.zeros((2, 3, 4), bool)
REFERENCE.flat[[0, 1, 2, 3, 4]] = True
PREDICTION = np.zeros((2, 3, 4), bool)
PREDICTION.flat[[0, 1, 2, 23]] = True

BY_HAND = {
    "dice": 6 / 9,
    "iou": 3 / 6,
    "precision": 3 / 4,
    "sensitivity": 3 / 5,
    "specificity": 18 / 19,
    "false_positive_rate": 1 / 19,
    "accuracy": 21 / 24,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_three_hits_one_spill_two_misses_give_the_values_worked_by_hand(name):
    assert METRICS[name](pair_of(REFERENCE, PREDICTION)) == pytest.approx(BY_HAND[name], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("dice", oracle.f1_score),
        ("iou", oracle.jaccard_score),
        ("precision", oracle.precision_score),
        ("sensitivity", oracle.recall_score),
        ("specificity", lambda truth, found: oracle.recall_score(~truth, ~found)),
        ("false_positive_rate", lambda truth, found: 1 - oracle.recall_score(~truth, ~found)),
        ("accuracy", oracle.accuracy_score),
    ],
)
def test_scikit_learn_gives_the_same_on_random_masks(name, theirs):
    reference, prediction = blob((7, 9, 8), seed=1, share=0.3), blob((7, 9, 8), seed=2, share=0.6)
    expected = theirs(reference.ravel(), prediction.ravel())
    assert METRICS[name](pair_of(reference, prediction)) == pytest.approx(expected, abs=1e-12)


def test_specificity_is_undefined_when_the_organ_fills_the_image():
    full = np.ones((2, 3, 4), bool)
    assert METRICS["specificity"](pair_of(full, PREDICTION)) is None
    assert METRICS["false_positive_rate"](pair_of(full, PREDICTION)) is None
