"""BF score of an organ: which slices the two conventions average over."""

import numpy as np
import pytest

from masks import mask_of, pair_of
from steelyard.metrics.bf_score import bf_score, bf_score_missing_as_zero

SHAPE = (5, 9, 12)


def test_missing_an_organ_on_two_of_three_slices_raises_matlabs_mean_but_not_the_honest_one():
    reference = mask_of(SHAPE, (1, 4, 4), (2, 4, 4), (3, 4, 4))
    prediction = mask_of(SHAPE, (2, 4, 4))
    pair = pair_of(reference, prediction)
    assert bf_score(pair) == 1
    assert bf_score_missing_as_zero(pair) == pytest.approx(1 / 3)


def test_an_organ_in_both_masks_but_never_on_the_same_slice_is_undefined_for_matlab():
    pair = pair_of(mask_of(SHAPE, (1, 4, 4)), mask_of(SHAPE, (3, 4, 4)))
    assert bf_score(pair) is None
    assert bf_score_missing_as_zero(pair) == 0


def test_every_slice_weighs_the_same_whatever_its_outline_is_long():
    """Slice 1: one pixel, found. Slice 2: two pixels far apart, one found, so P = 1, R = 1/2, F = 2/3."""
    pair = pair_of(mask_of(SHAPE, (1, 4, 4), (2, 4, 1), (2, 4, 10)), mask_of(SHAPE, (1, 4, 4), (2, 4, 1)))
    assert bf_score(pair) == pytest.approx((1 + 2 / 3) / 2)


def test_every_slice_of_the_volume_keeps_its_place():
    pair = pair_of(mask_of(SHAPE, (2, 4, 4), (3, 4, 4)), mask_of(SHAPE, (3, 4, 4)))
    np.testing.assert_array_equal(pair.slices.matlab, [np.nan, np.nan, np.nan, 1, np.nan])
    np.testing.assert_array_equal(pair.slices.missing_as_zero, [np.nan, np.nan, 0, 1, np.nan])


def test_the_threshold_is_of_the_whole_slice_not_of_the_organs_box():
    """A diagonal of 500 pixels allows distances under 3.75: three columns do, four do not."""
    shape = (1, 300, 400)
    assert bf_score(pair_of(mask_of(shape, (0, 100, 100)), mask_of(shape, (0, 100, 103)))) == 1
    assert bf_score(pair_of(mask_of(shape, (0, 100, 100)), mask_of(shape, (0, 100, 104)))) == 0
