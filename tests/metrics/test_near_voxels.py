"""Looking around ring by ring finds what measuring every pair finds, on any grid, near and far."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from steelyard.metrics import border_distances
from steelyard.metrics.border_distances import border, nearest
from steelyard.metrics.near_voxels import look_around, pixels_within, surroundings

TILTED = np.array([[0.3, -1.1, 6.8], [0.1, 1.4, 0.2], [1.5, -0.2, 0.1]])
GRIDS = {
    "unequal sides": np.diag([1.0, 2.0, 3.0]),
    "thick slices": np.diag([7.0, 1.5, 1.5]),
    "tilted and sheared": TILTED,
    "needles": np.diag([1e3, 1e-3, 1.0]),
    "microscopic": 1e-9 * np.diag([3.0, 2.0, 1.0]),
}


def every_pair(elements, others, to_mm):
    return cdist(np.argwhere(elements) @ to_mm, np.argwhere(others) @ to_mm).min(axis=1)


@pytest.mark.parametrize("to_mm", GRIDS.values(), ids=GRIDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0005, 0.02, 0.5]), others=st.sampled_from([0.0005, 0.02]))
def test_distances_are_those_of_every_pair(to_mm, seed, share, others):
    random = np.random.default_rng(seed)
    shape = (9, 23, 31)
    one, two = random.random(shape) < share, random.random(shape) < others
    one[4, 11, 15] = two[0, 22, 0] = True
    np.testing.assert_allclose(nearest(one, two, to_mm), every_pair(one, two, to_mm), rtol=1e-12)


TURNED = np.diag([7.0, 2.0, 1.5]) @ Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()


@pytest.mark.parametrize("to_mm", [TILTED, TURNED], ids=["sheared", "turned"])
@pytest.mark.parametrize(
    ("few", "voxels_per_place", "road"),
    [(0, 0, "cKDTree"), (10**9, 0, "cdist"), (0, 10**9, "distance_transform_edt")],
    ids=["by a tree", "pair by pair", "by a transform"],
)
def test_what_lies_far_beyond_all_rings_is_found_any_way(monkeypatch, few, voxels_per_place, road, to_mm):
    """A transform looks along the axes, so it is for right angles alone."""
    monkeypatch.setattr(border_distances, "FEW_PAIRS", few)
    monkeypatch.setattr(border_distances, "VOXELS_PER_PLACE", voxels_per_place)
    asked, taken = getattr(border_distances, road), []
    monkeypatch.setattr(border_distances, road, lambda *given, **more: taken.append(road) or asked(*given, **more))
    one, two = np.zeros((2, 3, 70, 90), bool)
    one[0, 0, :40] = one[2, 65, 89] = True
    two[1, 60:70, 50] = two[2, 65, 88] = True
    np.testing.assert_allclose(nearest(one, two, to_mm), every_pair(one, two, to_mm), rtol=1e-12)
    assert nearest(one, two, to_mm).max() > 60
    assert bool(taken) == (road != "distance_transform_edt" or to_mm is TURNED)


def test_the_nearest_of_many_is_taken_not_the_first_within_the_box():
    """On 7 mm slices the voxel above is 7 mm away, the one four columns aside 6 mm."""
    others = np.zeros((3, 5, 12), bool)
    others[2, 2, 3] = others[1, 2, 7] = True
    voxel = np.ravel_multi_index((1, 2, 3), others.shape)
    assert look_around(np.array([voxel]), others, surroundings(GRIDS["thick slices"])) == 6.0


def test_surroundings_hold_every_place_up_to_their_last():
    for to_mm in GRIDS.values():
        around = surroundings(to_mm)
        wide = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        distances = np.linalg.norm(wide @ to_mm, axis=1)
        nearer = {tuple(step) for step in wide[distances < around.distances[-1] * (1 - 1e-12)]}
        assert nearer <= {tuple(step) for step in around.steps}
        assert (np.diff(around.distances) >= 0).all()


@pytest.mark.parametrize(("radius_px", "count"), [(0.5, 1), (1, 1), (1.001, 5), (2.7, 21), (3, 25)])
def test_pixels_within_a_radius_are_strictly_nearer(radius_px, count):
    """Lattice points inside a circle: Gauss counted 1, 5, 9, 13, 21, 25, 29 …"""
    assert len(pixels_within(radius_px).steps) == count


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.02, 0.5, 0.95, 1.0]),
    image_edge=st.booleans(),
    axes=st.sampled_from([(0, 1, 2), (1, 2), (0,)]),
)
def test_a_border_voxel_has_an_off_neighbour_along_the_axes(seed, share, image_edge, axes):
    random = np.random.default_rng(seed)
    mask = random.random(tuple(random.integers(1, 6, 3))) < share
    expected = np.zeros(mask.shape, bool)
    for voxel in np.argwhere(mask):
        for axis in axes:
            for step in (-1, 1):
                neighbour = voxel.copy()
                neighbour[axis] += step
                inside = (neighbour >= 0).all() and (neighbour < mask.shape).all()
                expected[tuple(voxel)] |= not mask[tuple(neighbour)] if inside else image_edge
    np.testing.assert_array_equal(border(mask, image_edge=image_edge, axes=axes), expected)
