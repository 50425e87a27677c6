"""Surface distances in the conventions of MONAI and DeepMind, against these packages themselves and by hand."""

import monai.metrics
import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masks import SPACING_MM, blob, mask_of, pair_of
from steelyard.metrics import METRICS
from steelyard.metrics.organ_pair import OrganPair
from steelyard.volume import Geometry

SHAPE = (5, 6, 7)
FAMILIES = ("assd_mm", "mssd_mm", "hd95_mm", "nsd_2mm")


def ours(convention: str, pair: OrganPair) -> list[float]:
    suffix = "" if convention == "chaos" else f"_{convention}"
    return [METRICS[family + suffix](pair) for family in FAMILIES]


def as_monai(reference, prediction, spacing_mm=SPACING_MM) -> list[float]:
    """MONAI's own functions, in the order of FAMILIES."""
    two = [torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (prediction, reference)]
    options = {"include_background": False, "spacing": list(spacing_mm) if spacing_mm else None}
    return [
        float(value)
        for value in (
            monai.metrics.compute_average_surface_distance(*two, symmetric=True, **options),
            monai.metrics.compute_hausdorff_distance(*two, **options),
            monai.metrics.compute_hausdorff_distance(*two, percentile=95, **options),
            monai.metrics.compute_surface_dice(*two, class_thresholds=[2.0], **options),
        )
    ]


def as_deepmind(reference, prediction, spacing_mm=SPACING_MM) -> list[float]:
    """The library's own functions, in the order of FAMILIES; the first is the mean of the two that it gives."""
    surfels = surface_distance.compute_surface_distances(reference, prediction, spacing_mm)
    return [
        sum(surface_distance.compute_average_surface_distance(surfels)) / 2,
        surface_distance.compute_robust_hausdorff(surfels, 100),
        surface_distance.compute_robust_hausdorff(surfels, 95),
        surface_distance.compute_surface_dice_at_tolerance(surfels, 2.0),
    ]


def ragged(seed: int, share: float, *, to_the_edge: bool) -> np.ndarray:
    if not to_the_edge:
        return blob((7, 9, 8), seed=seed, share=share)
    mask = np.random.default_rng(seed).random((6, 7, 5)) < share
    mask[3, 3, 2] = True
    return mask


MASKS = st.tuples(st.integers(0, 10**6), st.floats(0.05, 0.95), st.integers(0, 10**6), st.floats(0.05, 0.95))


@settings(max_examples=25, deadline=None)
@given(MASKS, st.booleans())
def test_monai_itself_agrees_also_on_masks_at_the_image_edge(masks, to_the_edge):
    seed_r, share_r, seed_s, share_s = masks
    pair = (ragged(seed, share, to_the_edge=to_the_edge) for seed, share in ((seed_r, share_r), (seed_s, share_s)))
    reference, prediction = pair
    assert ours("monai", pair_of(reference, prediction)) == pytest.approx(as_monai(reference, prediction), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(MASKS, st.booleans())
def test_deepminds_library_agrees_also_on_masks_at_the_image_edge(masks, to_the_edge):
    seed_r, share_r, seed_s, share_s = masks
    pair = (ragged(seed, share, to_the_edge=to_the_edge) for seed, share in ((seed_r, share_r), (seed_s, share_s)))
    reference, prediction = pair
    found = ours("deepmind", pair_of(reference, prediction))
    assert found == pytest.approx(as_deepmind(reference, prediction), rel=1e-5)


def test_deepminds_two_directions_are_not_swapped():
    reference, prediction = mask_of(SHAPE, (2, 2, 1)), mask_of(SHAPE, (2, 2, 1), (2, 2, 5))
    surfels = surface_distance.compute_surface_distances(reference, prediction, SPACING_MM)
    theirs = surface_distance.compute_average_surface_distance(surfels)
    assert theirs[0] == 0 < theirs[1]
    pair = pair_of(reference, prediction)
    found = [METRICS[name](pair) for name in ("assd_from_reference_mm", "assd_from_prediction_mm")]
    assert found == pytest.approx(theirs)


def test_neighbouring_voxels_share_a_side_so_that_half_their_surfels_coincide():
    """Two voxels 2 mm apart: 2 mm by voxels' centres. Four of eight corners are shared, the others lie 2 mm off."""
    pair = pair_of(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, (2, 3, 2)))
    assert ours("chaos", pair) == ours("monai", pair) == pytest.approx([2, 2, 2, 1])
    assert ours("deepmind", pair) == pytest.approx([1, 2, 2, 1])


def test_only_monai_and_deepmind_see_a_surface_at_the_image_edge():
    """Slabs of 3 and 4 of 7 columns that fill the rest of the image: the gap of one column (3 mm) is all chaos sees."""
    reference, prediction = np.zeros((2, 4, 7), bool), np.zeros((2, 4, 7), bool)
    reference[:, :, :3] = True
    prediction[:, :, :4] = True
    pair = pair_of(reference, prediction)
    assert ours("chaos", pair)[:3] == pytest.approx([3, 3, 3])
    # MONAI: every voxel of two slices is border, 24 at distance 0 in the one, 24 at 0 and 8 at 3 mm in the other.
    assert ours("monai", pair)[0] == pytest.approx(8 * 3 / (24 + 32))
    assert ours("monai", pair) == pytest.approx(as_monai(reference, prediction), rel=1e-6)
    assert ours("deepmind", pair) == pytest.approx(as_deepmind(reference, prediction), rel=1e-6)
    full = np.ones(SHAPE, bool)
    filled = pair_of(full, mask_of(SHAPE, (2, 2, 2)))
    assert ours("chaos", filled) == [None] * 4
    assert ours("monai", filled)[1] == pytest.approx((2**2 + 6**2 + 12**2) ** 0.5)


def test_off_the_edge_monai_measures_what_chaos_does_and_shares_its_work():
    pair = pair_of(blob((9, 12, 11), seed=3), blob((9, 12, 11), seed=4, share=0.7))
    assert pair.edge_distances is pair.distances
    assert ours("monai", pair) == ours("chaos", pair)


def test_a_sheared_grid_is_measured_along_its_axes_by_the_other_tools():
    """Each slice is shifted by 4 mm along the columns, so that its step is 5 mm long. One slice up and one column back
    it is √(3² + 1²) mm in the patient, and √(5² + 3²) to tools that take the axes for right-angled."""
    affine = np.diag([3.0, 2.0, 3.0, 1.0])
    affine[2, 0] = 4.0
    pair = OrganPair(mask_of(SHAPE, (2, 2, 2)), mask_of(SHAPE, (3, 2, 1)), Geometry(SHAPE, affine))
    assert ours("chaos", pair)[1] == pytest.approx(10**0.5)
    assert ours("monai", pair)[1] == pytest.approx(34**0.5)
    assert ours("deepmind", pair)[1] == pytest.approx(34**0.5)


def test_voxels_count_where_monai_is_given_no_spacing():
    reference, prediction = blob((7, 9, 8), seed=1), blob((7, 9, 8), seed=2, share=0.1)
    pair = pair_of(reference, prediction)
    assert pair.edge_distances_in_voxels.pooled.mean() == pytest.approx(as_monai(reference, prediction, None)[0])
    assert pair.edge_distances_in_voxels.pooled.max() == pytest.approx(as_monai(reference, prediction, None)[1])


def test_a_twice_larger_voxel_side_weighs_more_in_deepminds_convention():
    """A plate of one slice, and the same with one voxel more on its rim, 3 mm off along the columns. In MONAI's count a
    voxel is a voxel; by area the long sides of 2 × 3 mm, which agree, weigh more than the ends that do not."""
    plate = np.zeros((3, 8, 9), bool)
    plate[1, 1:7, 1:7] = True
    spill = plate.copy()
    spill[1, 3, 7] = True
    pair = pair_of(plate, spill)
    assert ours("monai", pair)[0] == pytest.approx(3 / (36 + 37))
    assert ours("deepmind", pair) == pytest.approx(as_deepmind(plate, spill), rel=1e-6)
    assert ours("deepmind", pair)[0] < ours("monai", pair)[0]


def test_what_the_other_tools_print_for_a_missed_organ(monkeypatch):
    """Ours is the volume's diagonal, and 0 for NSD: a mean over cases stays a number, and the miss is charged."""
    organ, empty = mask_of(SHAPE, (2, 2, 2), (2, 3, 3)), mask_of(SHAPE)
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # the library still calls it so
    with np.errstate(invalid="ignore"):
        theirs = as_monai(organ, empty), as_deepmind(organ, empty)
    nan = pytest.approx(float("nan"), nan_ok=True)
    assert theirs == ([np.inf, np.inf, nan, 0], [nan, np.inf, np.inf, 0])
    diagonal = pair_of(organ, empty).geometry.diagonal_mm
    for convention in ("monai", "deepmind"):
        assert ours(convention, pair_of(organ, empty)) == [diagonal, diagonal, diagonal, 0]
