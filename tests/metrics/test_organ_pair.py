"""One organ in two masks: counts, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masks import blob, grid, mask_of, pair_of
from steelyard.confusion import Confusion, count_labels, dice, iou
from steelyard.metrics.organ_pair import OrganPair

SHAPE = (3, 4, 5)


def four(counts: Confusion):
    return [int(value) for value in (counts.tp, counts.fp, counts.fn, counts.tn)]


def test_counts_tell_spills_from_misses():
    pair = pair_of(mask_of(SHAPE, (0, 0, 0), (1, 1, 1), (2, 3, 4)), mask_of(SHAPE, (1, 1, 1), (1, 1, 2)))
    assert four(pair.counts) == [1, 1, 2, 56]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_counts_in_the_cropped_box_are_those_of_the_whole_volume(seed, share_r, share_s):
    random = np.random.default_rng(seed)
    reference, prediction = random.random((4, 5, 6)) < share_r, random.random((4, 5, 6)) < share_s
    whole = count_labels(reference.astype(np.uint8), prediction.astype(np.uint8), 2)
    ours = pair_of(reference, prediction).counts
    assert four(ours) == [int(getattr(whole, name)[1]) for name in ("tp", "fp", "fn", "tn")]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_iou_is_dice_over_two_minus_dice(seed_r, seed_s):
    counts = pair_of(blob((6, 7, 8), seed=seed_r), blob((6, 7, 8), seed=seed_s)).counts
    assert iou(counts) == pytest.approx(dice(counts) / (2 - dice(counts)))


def test_masks_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(ValueError, match="do not fit the grid"):
        OrganPair(mask_of((3, 4, 5)), mask_of((3, 5, 4)), grid((3, 4, 5)))


def test_labels_are_no_mask():
    with pytest.raises(ValueError, match="boolean"):
        OrganPair(np.zeros(SHAPE, np.uint8), mask_of(SHAPE), grid(SHAPE))
