"""One organ in two masks: counts, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masks import blob, grid, label_map, mask_of, pair_of
from steelyard.confusion import Confusion, count_labels, dice, iou
from steelyard.metrics.organ_pair import OrganPair, organ_boxes, organ_pairs

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


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.003, 0.05, 0.9]), st.sampled_from([0.0, 0.05, 0.9]))
def test_organs_cut_out_of_label_maps_measure_what_whole_masks_do(seed, share_r, share_s):
    """Also at the image edge, for organs in one map only or in none, and for the background."""
    random = np.random.default_rng(seed)
    shape = (5, 12, 9)
    reference, prediction = (
        label_map(np.where(random.random(shape) < share, random.integers(1, 3, shape), 0))
        for share in (share_r, share_s)
    )
    for index, ours in enumerate(organ_pairs(reference, prediction)):
        whole = pair_of(reference.labels == index, prediction.labels == index)
        assert four(ours.counts) == four(whole.counts)
        np.testing.assert_array_equal(ours.slices.matlab, whole.slices.matlab)
        np.testing.assert_array_equal(ours.slices.missing_as_zero, whole.slices.missing_as_zero)
        for name in ("distances", "edge_distances", "edge_distances_in_voxels"):
            assert distances_of(getattr(ours, name)) == distances_of(getattr(whole, name))
        assert distances_of(ours.surfels and ours.surfels.distances) == distances_of(
            whole.surfels and whole.surfels.distances
        )


def distances_of(distances):
    return distances and [sorted(distances.from_reference), sorted(distances.from_prediction)]


def test_boxes_hold_each_organ_of_either_map_with_a_voxel_of_room():
    reference, prediction = np.zeros((2, 6, 7, 8), np.uint8)
    reference[2, 3, 4] = prediction[3, 3, 6] = 1
    prediction[5, 0, 2] = 3
    boxes = organ_boxes(reference, prediction, 4)
    assert [tuple((span.start, span.stop) for span in box) for box in boxes] == [
        ((0, 6), (0, 7), (0, 8)),
        ((1, 5), (2, 5), (3, 8)),
        ((0, 1), (0, 1), (0, 1)),  # organ 2 is nowhere: any empty crop serves
        ((4, 7), (0, 2), (1, 4)),  # an index beyond the grid takes nothing
    ]


def test_a_crop_that_reaches_beyond_the_grid_is_refused():
    with pytest.raises(ValueError, match="do not fit the grid"):
        OrganPair(mask_of((2, 2, 2)), mask_of((2, 2, 2)), grid((3, 4, 5)), corner=(2, 0, 0))
