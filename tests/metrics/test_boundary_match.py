"""BF score of slices: hand-made outlines, brute force, and the values that MATLAB printed for a pair of images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from masks import blob, mask_of
from steelyard.metrics.boundary_match import match_slices

SHAPE = (3, 9, 12)


def bf(reference, prediction, **options):
    return match_slices(reference, prediction, **options).matlab


def test_a_boundary_pixel_exactly_at_the_threshold_does_not_match():
    reference, prediction = mask_of(SHAPE, (1, 4, 4)), mask_of(SHAPE, (1, 4, 6))
    assert bf(reference, prediction, threshold_px=2)[1] == 0
    assert bf(reference, prediction, threshold_px=2.001)[1] == 1


def test_f_is_the_harmonic_mean_of_precision_and_recall():
    """Reference pixels at columns 2 and 9, prediction at 2, 3 and 6; within 1.5 pixels R = 1/2 and P = 2/3."""
    reference = mask_of(SHAPE, (0, 4, 2), (0, 4, 9))
    prediction = mask_of(SHAPE, (0, 4, 2), (0, 4, 3), (0, 4, 6))
    assert bf(reference, prediction, threshold_px=1.5)[0] == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))


def test_the_default_threshold_is_three_quarters_of_a_percent_of_the_slice_diagonal():
    """On 300 × 400 the diagonal is 500 pixels and the threshold 3.75; on a crop of it the full slice still rules."""
    shape = (1, 300, 400)
    reference = mask_of(shape, (0, 100, 100))
    assert bf(reference, mask_of(shape, (0, 100, 103)))[0] == 1
    assert bf(reference, mask_of(shape, (0, 104, 100)))[0] == 0
    crop = np.s_[:, 90:110, 90:110]
    assert bf(reference[crop], mask_of(shape, (0, 100, 103))[crop], slice_shape=(300, 400))[0] == 1


def test_the_image_edge_counts_as_off():
    """A slice filled to its edge has a boundary: its outermost 2 (9 + 12) − 4 = 38 pixels, and no other."""
    full = np.ones((1, 9, 12), bool)
    assert bf(full, full)[0] == 1
    rim = full.copy()
    rim[:, 1:-1, 1:-1] = False
    assert bf(full, rim, threshold_px=0.5)[0] == 1


def test_only_pixels_with_an_off_4_neighbour_are_boundary():
    """A 5 × 5 square without one corner: the pixel inside that corner keeps its four neighbours, so 15 of 16 remain."""
    square = np.zeros((1, 9, 9), bool)
    square[0, 2:7, 2:7] = True
    notched = square.copy()
    notched[0, 2, 2] = False
    recall = 15 / 16
    assert bf(square, notched, threshold_px=0.5)[0] == pytest.approx(2 * recall / (recall + 1))


def test_a_slice_with_the_organ_in_one_mask_is_left_out_or_counts_zero():
    reference, prediction = mask_of(SHAPE, (0, 4, 4), (1, 4, 4)), mask_of(SHAPE, (1, 4, 4))
    scores = match_slices(reference, prediction)
    np.testing.assert_array_equal(scores.matlab, [np.nan, 1, np.nan])
    np.testing.assert_array_equal(scores.missing_as_zero, [0, 1, np.nan])
    invented = match_slices(prediction, reference)
    np.testing.assert_array_equal(invented.missing_as_zero, [0, 1, np.nan])


@pytest.mark.parametrize("threshold_px", [0.7, 1.0, 2.5, 30.0])
def test_a_pixel_on_the_next_slice_never_matches(threshold_px):
    reference, prediction = mask_of(SHAPE, (0, 4, 4), (1, 0, 0)), mask_of(SHAPE, (1, 4, 4), (1, 0, 0))
    scores = match_slices(reference, prediction, threshold_px=threshold_px)
    assert scores.missing_as_zero[0] == 0
    assert scores.matlab[1] == pytest.approx(1 if threshold_px > 6 else 2 / 3)


def brute_force(reference, prediction, threshold_px):
    outlines = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (reference, prediction)]
    near = cdist(*outlines) < threshold_px
    recall, precision = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * precision * recall / (precision + recall) if near.any() else 0


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_over_all_pairs_of_boundary_pixels_agrees(seed):
    reference, prediction = (blob((7, 30, 21), seed=s, share=p) for s, p in ((seed, 0.08), (seed + 50, 0.03)))
    for threshold_px in (1, 1.5, 2**0.5, 3):
        ours = bf(reference, prediction, threshold_px=threshold_px)
        for index in range(2, 5):
            expected = brute_force(reference[index], prediction[index], threshold_px)
            assert ours[index] == pytest.approx(expected)


@pytest.mark.real_data
def test_matlab_printed_these_values_to_four_digits():
    """And `≤` instead of `<` would miss eight of the nine."""
    root = os.environ.get("STEELYARD_DATA")
    if not root or not (Path(root) / "bfscore" / "bfscore.json").exists():
        pytest.skip("STEELYARD_DATA names no folder with bfscore/")
    folder = Path(root) / "bfscore"
    record = json.loads((folder / "bfscore.json").read_text())
    reference, prediction = (np.array(Image.open(folder / name))[None] for name in ("gt_1.png", "crf_1.png"))
    printed = {int(value): score for value, score in record["class_bfscore"].items()}
    ours = {v: bf(reference == v, prediction == v, threshold_px=2)[0] for v in printed}
    assert len(printed) == 9
    assert ours == pytest.approx(printed, abs=0.5e-4)
    loose = {v: bf(reference == v, prediction == v, threshold_px=np.nextafter(2, 3))[0] for v in printed}
    assert sum(abs(loose[v] - printed[v]) > 0.5e-4 for v in printed) == 8
