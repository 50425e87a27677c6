"""Voxel counts and the indices on them, with four counts that all differ."""

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from steelyard import confusion
from steelyard.confusion import Confusion, confusion_matrix, count_labels, from_matrix, tversky_index

COUNTS = Confusion(np.array([3, 8]), np.array([1, 0]), np.array([2, 4]), np.array([18, 12]))


def test_the_fp_weight_prices_spills_and_the_fn_weight_misses():
    found = tversky_index(COUNTS, fp_weight=0.5, fn_weight=1.5)
    assert found.tolist() == pytest.approx([3 / (3 + 0.5 * 1 + 1.5 * 2), 8 / (8 + 1.5 * 4)])


def test_weights_may_differ_between_classes():
    found = tversky_index(COUNTS, fp_weight=np.array([0.2, 0.8]), fn_weight=np.array([1.8, 1.2]))
    assert found.tolist() == pytest.approx([3 / (3 + 0.2 * 1 + 1.8 * 2), 8 / (8 + 1.2 * 4)])


def test_epsilon_joins_the_denominator_alone_so_that_an_absent_class_scores_zero():
    absent = Confusion(np.array([0]), np.array([0]), np.array([0]), np.array([9]))
    assert tversky_index(absent, fp_weight=1, fn_weight=1, epsilon=1e-7).tolist() == [0]
    assert np.isnan(tversky_index(absent, fp_weight=1, fn_weight=1)).tolist() == [True]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("iou", 3 / 6),
        ("dice", 6 / 9),
        ("sensitivity", 3 / 5),
        ("precision", 3 / 4),
        ("specificity", 18 / 19),
        ("false_positive_rate", 1 / 19),
        ("accuracy", 21 / 24),
    ],
)
def test_numpy_and_torch_give_the_values_worked_by_hand(index, expected):
    soft = Confusion(*(torch.tensor(getattr(COUNTS, name), dtype=torch.float64) for name in ("tp", "fp", "fn", "tn")))
    assert getattr(confusion, index)(COUNTS)[0] == pytest.approx(expected)
    assert getattr(confusion, index)(soft)[0].item() == pytest.approx(expected)


def test_rows_of_the_matrix_are_the_reference():
    reference, prediction = np.array([[0, 1, 2, 2]]), np.array([[1, 1, 2, 0]])
    matrix = confusion_matrix(reference, prediction, 3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 1]]
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(reference.ravel(), prediction.ravel()))


def test_counts_of_a_matrix_tell_spills_from_misses():
    counts = from_matrix(np.array([[50, 3, 2], [4, 20, 1], [0, 5, 15]]))
    assert counts.tp.tolist() == [50, 20, 15]
    assert counts.fp.tolist() == [4, 8, 3]
    assert counts.fn.tolist() == [5, 5, 5]
    assert counts.tn.tolist() == [41, 67, 77]
    assert counts.reference_size.tolist() == [55, 25, 20]
    assert counts.prediction_size.tolist() == [54, 28, 18]


def test_counts_of_cases_add_and_pool():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (2, 4, 50)).astype(np.uint8)
    cases = [count_labels(reference, prediction, 3) for reference, prediction in zip(*labels, strict=True)]
    stacked = Confusion(*(np.stack([getattr(c, name) for c in cases]) for name in ("tp", "fp", "fn", "tn")))
    whole = count_labels(labels[0], labels[1], 3)
    added = cases[0] + cases[1] + cases[2] + cases[3]
    for name in ("tp", "fp", "fn", "tn"):
        assert getattr(added, name).tolist() == getattr(whole, name).tolist()
        assert getattr(stacked.over_cases(), name).tolist() == getattr(whole, name).tolist()


def test_a_label_that_is_no_class_is_refused_and_not_counted_as_another():
    with pytest.raises(ValueError, match="0–1 are known"):
        confusion_matrix(np.array([0, 1]), np.array([2, 0]), 2)
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)
