"""The solids and fields of phantoms, against arithmetic and scipy's splines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from steelyard.datasets.phantom_shapes import Ellipsoid, SmoothField, Tube, common, joined, rotation


def along(*points: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z = np.array(points, np.float32).T
    return x, y, z


def test_a_smooth_field_is_the_cubic_spline_of_its_lattice() -> None:
    field = SmoothField.random(np.random.default_rng(1), lattice_mm=20, reach_mm=60)
    z, y, x = np.array([-31.0, 4.5]), np.array([-7.0, 0, 13]), np.array([-50.0, -1, 22, 41])
    middle = (field.coefficients.shape[0] - 1) / 2
    where = np.stack(np.meshgrid(z, y, x, indexing="ij")) / 20 + middle
    spline = map_coordinates(field.coefficients.astype(float), where, order=3, prefilter=False)
    np.testing.assert_allclose(field.on(z, y, x), spline, atol=1e-5)


def test_a_smooth_field_has_mean_zero_and_unit_spread() -> None:
    field = SmoothField.random(np.random.default_rng(2), lattice_mm=8, reach_mm=150)
    axis = np.arange(-150.0, 150, 3)
    values = field.on(axis, axis, axis)
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)
    assert values.dtype == np.float32


def test_a_sphere_measures_true_distances_and_an_ellipsoid_is_zero_at_its_poles() -> None:
    sphere = Ellipsoid(np.array([1.0, 2, 3]), np.array([5.0, 5, 5]), np.eye(3))
    np.testing.assert_allclose(sphere.distance(*along((1, 2, 11), (1, 5, 3))), [3, -2], atol=1e-4)
    turned = Ellipsoid(np.zeros(3), np.array([1.0, 2, 3]), rotation(about_z=np.pi / 2))
    np.testing.assert_allclose(turned.distance(*along((0, 1, 0), (2, 0, 0), (0, 0, 3))), 0, atol=1e-4)
    np.testing.assert_allclose(turned.high, [2, 1, 3], atol=1e-9)


def test_a_tube_tapers_between_round_ends() -> None:
    tube = Tube(np.array([0.0, 0, 0]), np.array([0.0, 0, 10]), 3.0, 1.0)
    np.testing.assert_allclose(
        tube.distance(*along((5, 0, 0), (5, 0, 5), (0, 0, 14), (0, 4, 10))), [2, 3, 3, 3], atol=1e-5
    )


def test_joined_fills_the_seam_and_common_keeps_the_overlap() -> None:
    near, far = np.array([2.0, -1.0]), np.array([2.0, 9.0])
    np.testing.assert_allclose(joined(near, far, blend_mm=4), [1, -1])  # the seam: 2 − 4/4
    np.testing.assert_allclose(common(near, far, blend_mm=4), [3, 9])


def test_rotation_turns_x_to_y_about_z_and_y_to_z_about_x() -> None:
    np.testing.assert_allclose(rotation(about_z=np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation(about_x=np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation(about_y=np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
