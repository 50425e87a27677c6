"""One scale for all scans, set by the body."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from steelyard.preprocess.normalise import _without_holes, body_mask, normalise


def patient() -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of 300 ± 40 with a dark hole, in noise of 0–20, a bright speck beside it; and where the body is."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:48, :64]
    body = np.broadcast_to(((rows - 24) / 18) ** 2 + ((columns - 30) / 22) ** 2 < 1, (4, 48, 64))
    image = np.where(body, random.normal(300, 40, body.shape), random.uniform(0, 20, body.shape))
    image[:, 20:26, 28:34] = 5  # gas in the bowel
    image[0, 2:4, 60:62] = 500  # met before the body
    return image, body


def test_the_body_is_the_large_bright_piece_with_its_holes_filled():
    image, body = patient()
    assert np.array_equal(body_mask(image), body)


def test_a_constant_volume_is_all_body():
    assert body_mask(np.full((2, 5, 6), 7)).all()


def test_one_wild_voxel_hides_neither_the_body_nor_its_contrast():
    image, body = patient()
    expected = normalise(image, body)
    image[2, 24, 40] = 1e9
    assert np.array_equal(body_mask(image), body)
    wild = normalise(image, body)
    assert wild[2, 24, 40] == wild.max() < 4
    wild[2, 24, 40] = expected[2, 24, 40]
    np.testing.assert_allclose(wild, expected, atol=0.02)


def test_the_body_has_zero_mean_and_unit_spread_whatever_the_scanners_scale():
    image, body = patient()
    scaled = normalise(image, body)
    assert scaled.dtype == np.float32
    assert scaled[body].mean() == pytest.approx(0, abs=1e-4)
    assert scaled[body].std() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(normalise(3.5 * image + 120, body), scaled, atol=1e-3)


def test_the_background_does_not_set_the_scale():
    image, body = patient()
    other = image.copy()
    other[~body] *= 0.1
    np.testing.assert_allclose(normalise(other, body)[body], normalise(image, body)[body], atol=1e-5)


def test_intensities_are_clipped_at_the_bodys_percentiles():
    """Of 0 … 1000 the 0.5th percentile is 5 and the 99.5th 995."""
    line = np.random.default_rng(1).permutation(np.arange(1001)).reshape(1, 1, -1)
    scaled = normalise(line, np.ones(line.shape, bool))
    assert (scaled == scaled.min()).sum() == 6
    assert (scaled == scaled.max()).sum() == 6


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32, np.float64])
def test_a_constant_volume_becomes_zero_in_any_type(kind: type):
    image = np.full((2, 5, 6), 1200, kind)
    assert not normalise(image, body_mask(image)).any()


def test_the_scan_itself_is_not_changed():
    image, _ = patient()
    kept = image.copy()
    normalise(image, body_mask(image))
    assert np.array_equal(image, kept)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.75, 0.95, 1.0])
def test_holes_are_those_that_scipy_fills_slice_by_slice(share):
    random = np.random.default_rng(3)
    for shape in ((1, 1, 1), (2, 3, 1), (3, 9, 14), (2, 40, 30)):
        mask = random.random(shape) < share
        expected = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
        np.testing.assert_array_equal(_without_holes(mask), expected)
