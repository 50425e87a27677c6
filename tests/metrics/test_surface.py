"""Surface distances: geometry by hand, brute force over all pairs of border voxels, MONAI and MedPy."""

import monai.metrics
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric import binary as medpy
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from masks import SPACING_MM, blob, mask_of, pair_of
from steelyard.metrics import METRICS
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.surface import assd_mm, hd95_mm, mssd_mm, nsd_2mm, surface_agreement
from steelyard.volume import Geometry

SHAPE = (5, 6, 7)
SURFACE = [assd_mm, mssd_mm, hd95_mm, nsd_2mm]


def test_two_voxels_two_mm_apart_have_hausdorff_two_mm():
    pair = pair_of(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, (2, 3, 2)))
    assert [metric(pair) for metric in (assd_mm, mssd_mm, hd95_mm)] == pytest.approx([2, 2, 2])


@pytest.mark.parametrize(("step", "mm"), [((1, 0, 0), 1), ((0, 1, 0), 2), ((0, 0, 1), 3), ((2, 1, 1), 17**0.5)])
def test_slices_rows_and_columns_have_their_own_spacing(step, mm):
    there = tuple(int(n) for n in np.add((2, 2, 2), step))
    assert mssd_mm(pair_of(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, there))) == pytest.approx(mm)


def test_one_spilled_voxel_twelve_mm_away():
    """Distances 0 from the reference, 0 and 12 from the prediction: pooled, directed and averaged ones all differ."""
    pair = pair_of(mask_of(SHAPE, (2, 2, 1)), mask_of(SHAPE, (2, 2, 1), (2, 2, 5)))
    assert assd_mm(pair) == pytest.approx(12 / 3)  # the mean of the two directed means would be 3
    assert mssd_mm(pair) == pytest.approx(12)
    assert hd95_mm(pair) == pytest.approx(0.95 * 12)  # the percentile of the pooled distances would be 10.8
    assert nsd_2mm(pair) == pytest.approx(2 / 3)


def test_the_image_edge_is_no_border():
    """Two half-spaces that end one column (3 mm) apart touch the image edge on five sides: only the gap counts."""
    reference, prediction = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    reference[:, :, :3] = True
    prediction[:, :, :4] = True
    pair = pair_of(reference, prediction)
    assert len(pair.distances.from_reference) == 5 * 6
    assert assd_mm(pair) == mssd_mm(pair) == pytest.approx(3)


def test_a_diagonal_neighbour_that_is_off_makes_no_border():
    """A 5³ cube without one corner: the voxel diagonally inside that corner has all six neighbours and stays inside."""
    cube = np.zeros((7, 7, 7), bool)
    cube[1:6, 1:6, 1:6] = True
    notched = cube.copy()
    notched[1, 1, 1] = False
    assert len(pair_of(cube, notched).distances.from_prediction) == 5**3 - 3**3 - 1


def test_a_mask_that_fills_the_volume_has_no_border_and_no_distance():
    full = np.ones(SHAPE, bool)
    assert [metric(pair_of(full, mask_of(SHAPE, (2, 2, 2)))) for metric in SURFACE] == [None] * 4


@pytest.mark.parametrize("tolerance_mm", [1, 2, 3])
def test_a_distance_equal_to_the_tolerance_is_within_it_also_on_a_rounded_grid(tolerance_mm):
    step = np.eye(3, dtype=int)[tolerance_mm - 1]
    there = tuple(int(n) for n in np.add((2, 2, 2), step))
    spacing_mm = tuple(s * 1.000001 for s in SPACING_MM)
    pair = pair_of(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, there), spacing_mm)
    assert surface_agreement(pair, tolerance_mm=tolerance_mm) == 1
    assert surface_agreement(pair, tolerance_mm=tolerance_mm - 0.1) == 0


def test_a_sheared_grid_is_measured_in_the_patient_not_along_its_axes():
    """Each slice is shifted by 4 mm along the columns: the voxel above lies √(3² + 4²) = 5 mm away."""
    affine = np.diag([3.0, 2.0, 1.0, 1.0])
    affine[2, 0] = 4.0
    pair = OrganPair(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, (3, 2, 2)), Geometry(SHAPE, affine))
    assert mssd_mm(pair) == pytest.approx(5)


def brute_force(reference, prediction):
    """All border voxels against all: 6-neighbour borders, mm along (slice, row, column)."""
    borders = [mask & ~binary_erosion(mask, border_value=1) for mask in (reference, prediction)]
    between = cdist(*(np.argwhere(border) * SPACING_MM for border in borders))
    return between.min(axis=1), between.min(axis=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_brute_force_over_all_pairs_of_border_voxels_agrees(seed_r, seed_s, share_r, share_s):
    reference, prediction = (blob((8, 9, 10), seed=s, share=p) for s, p in ((seed_r, share_r), (seed_s, share_s)))
    there, back = brute_force(reference, prediction)
    both = np.concatenate([there, back])
    expected = [both.mean(), both.max(), max(np.quantile(there, 0.95), np.quantile(back, 0.95)), (both <= 2).mean()]
    assert [metric(pair_of(reference, prediction)) for metric in SURFACE] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_surface_metrics_do_not_care_which_mask_is_the_reference(seed_r, seed_s):
    one, other = blob((6, 8, 7), seed=seed_r), blob((6, 8, 7), seed=seed_s, share=0.7)
    for metric in SURFACE:
        assert metric(pair_of(one, other)) == pytest.approx(metric(pair_of(other, one)))


def one_hot(mask):
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


def test_monai_agrees_on_masks_off_the_image_edge():
    """MONAI takes the image edge for a border, hence the margin; its borders and percentiles are otherwise these."""
    reference, prediction = blob((9, 12, 11), seed=3), blob((9, 12, 11), seed=4, share=0.7)
    pair, two = pair_of(reference, prediction), (one_hot(prediction), one_hot(reference))
    options = {"include_background": False, "spacing": list(SPACING_MM)}
    theirs = [
        monai.metrics.compute_average_surface_distance(*two, symmetric=True, **options),
        monai.metrics.compute_hausdorff_distance(*two, **options),
        monai.metrics.compute_hausdorff_distance(*two, percentile=95, **options),
        monai.metrics.compute_surface_dice(*two, class_thresholds=[2.0], **options),
    ]
    assert [metric(pair) for metric in SURFACE] == pytest.approx([float(value) for value in theirs], rel=1e-5)


def test_medpy_agrees_on_directed_means_and_the_maximum():
    """MedPy averages the two directed means and pools before the percentile: other conventions, so not compared."""
    reference, prediction = blob((9, 12, 11), seed=5), blob((9, 12, 11), seed=6, share=0.7)
    pair = pair_of(reference, prediction)
    assert mssd_mm(pair) == pytest.approx(medpy.hd(prediction, reference, SPACING_MM))
    assert pair.distances.from_prediction.mean() == pytest.approx(medpy.asd(prediction, reference, SPACING_MM))
    assert pair.distances.from_reference.mean() == pytest.approx(medpy.asd(reference, prediction, SPACING_MM))


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3), st.integers(0, 10**6))
def test_more_air_around_changes_only_what_counts_air(margins, seed):
    reference, prediction = blob((6, 7, 8), seed=seed), blob((6, 7, 8), seed=seed + 1)
    small = pair_of(reference, prediction)
    large = pair_of(np.pad(reference, margins), np.pad(prediction, margins))
    counts_air = {"specificity", "false_positive_rate", "accuracy", "bf_score"}  # BF: its threshold is of the diagonal
    for name in METRICS:
        metric = METRICS[name]
        if metric.reads in ("counts", "masks") and metric.name not in counts_air:
            assert metric(large) == pytest.approx(metric(small)), name
