"""The fully connected CRF: against sums written out pixel by pixel, against hand arithmetic, and by what it must do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import steelyard.postprocess.crf as crf_module
from steelyard.postprocess.crf import Backend, DenseCrf, available_backend, scaled_intensities

BACKENDS: tuple[Backend, ...] = ("mean_field", "pydensecrf2")
SPACING = (7.0, 1.5, 2.5)  # slices, rows, columns
SMOOTH_ALONE: dict[str, Any] = {"appearance_weight": 0.0}


def by_pairs(crf: DenseCrf, probabilities: np.ndarray, channels: np.ndarray, pixel_mm: tuple[float, float]):
    """One slice (class, row, column), channels (channel, row, column): every pair of pixels in a loop of its own."""
    classes, rows, columns = probabilities.shape
    pixels = [(r, c) for r in range(rows) for c in range(columns)]
    smooth, alike = np.zeros((2, len(pixels), len(pixels)))
    for i, (r1, c1) in enumerate(pixels):
        for j, (r2, c2) in enumerate(pixels):
            mm2 = ((r1 - r2) * pixel_mm[0]) ** 2 + ((c1 - c2) * pixel_mm[1]) ** 2
            look2 = sum((float(one[r1, c1]) - float(one[r2, c2])) ** 2 for one in channels)
            smooth[i, j] = math.exp(-mm2 / (2 * crf.smoothness_mm**2))
            alike[i, j] = math.exp(-mm2 / (2 * crf.appearance_mm**2) - look2 / (2 * crf.appearance_contrast**2))
    pull = crf.smoothness_weight * by_sums(smooth) + crf.appearance_weight * by_sums(alike)
    p = np.array([[float(probabilities[c, r, k]) for c in range(classes)] for r, k in pixels])
    q = p
    for _ in range(crf.iterations):
        raised = p * np.exp(pull @ q)
        q = raised / raised.sum(axis=1, keepdims=True)
    return q.T.reshape(probabilities.shape)


def by_sums(kernel: np.ndarray) -> np.ndarray:
    sums = kernel.sum(axis=1)
    return kernel / np.sqrt(np.outer(sums, sums))


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits)
    return raised / raised.sum(axis=0)


def drawn(shape: tuple[int, ...], *, seed: int = 3, channels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three classes and a noisy image with a bright block."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.08, (shape if channels is None else (channels, *shape)))
    image[..., shape[1] // 4 : -shape[1] // 4, shape[2] // 3 :] += 1
    logits = rng.normal(0, 1, (3, *shape))
    logits[1, :, shape[1] // 4 : -shape[1] // 4, shape[2] // 3 :] += 1
    return softmax(logits).astype(np.float32), image


@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize(("backend", "worst", "mean"), [("mean_field", 0.01, 0.0006), ("pydensecrf2", 0.04, 0.006)])
def test_pairs_written_out_on_unequal_spacings_agree(backend, worst, mean, channels):
    crf = DenseCrf(1.2, 4.0, 1.7, 9.0, 0.2, iterations=3)
    probabilities, image = drawn((2, 9, 8), channels=channels)
    found = crf.apply(probabilities, image, SPACING, backend=backend)
    scaled = scaled_intensities(image if channels else image[None])
    wanted = np.stack([by_pairs(crf, probabilities[:, i], scaled[:, i], SPACING[1:]) for i in range(2)], axis=1)
    assert np.abs(wanted - probabilities).max() > 0.3  # there was something to do
    np.testing.assert_allclose(found, wanted, atol=worst)
    assert np.abs(found - wanted).mean() < mean


def test_the_smoothness_of_the_fallback_is_exact():
    crf = DenseCrf(2.5, 3.0, iterations=4, **SMOOTH_ALONE)
    probabilities, image = drawn((1, 7, 6))
    found = crf.apply(probabilities, image, SPACING, backend="mean_field")
    np.testing.assert_allclose(found[:, 0], by_pairs(crf, probabilities[:, 0], image[:0], SPACING[1:]), atol=2e-6)


@pytest.mark.parametrize(("backend", "tolerance"), [("mean_field", 1e-5), ("pydensecrf2", 0.05)])
@pytest.mark.parametrize(("axis", "mm"), [(1, 1.5), (2, 2.5)])
def test_two_pixels_by_hand(backend, tolerance, axis, mm):
    """One has .8 of the organ, the other .4; one step, weight 2, reach 2 mm, in a row or in a column."""
    shape = [1, 1, 1]
    shape[axis] = 2
    organ = np.array([0.8, 0.4]).reshape(shape)
    probabilities = np.stack([1 - organ, organ])
    k = math.exp(-(mm**2) / (2 * 2.0**2))
    wanted = []
    for own, other in ((0.8, 0.4), (0.4, 0.8)):
        for_organ = 2 * (own + k * other) / (1 + k)
        for_background = 2 * (1 - own + k * (1 - other)) / (1 + k)
        odds = own / (1 - own) * math.exp(for_organ - for_background)
        wanted.append(odds / (1 + odds))
    crf = DenseCrf(2.0, 2.0, iterations=1, **SMOOTH_ALONE)
    found = crf.apply(probabilities, np.zeros(shape), SPACING, backend=backend)
    np.testing.assert_allclose(found[1].ravel(), wanted, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_pixels_that_do_not_look_alike_leave_each_other_alone(backend):
    """Black and white, contrast .05: each has itself alone for surroundings, which adds 3 (2 p − 1) to its log odds."""
    probabilities = np.array([[[[0.7, 0.2]]], [[[0.3, 0.8]]]])
    crf = DenseCrf(0.0, 1.0, 3.0, 50.0, 0.05, iterations=1)
    found = crf.apply(probabilities, np.array([[[0.0, 1.0]]]), SPACING, backend=backend)
    odds = [3 / 7 * math.exp(3 * (2 * 0.3 - 1)), 4 * math.exp(3 * (2 * 0.8 - 1))]
    np.testing.assert_allclose(found[1].ravel(), [o / (1 + o) for o in odds], atol=0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_weights_nothing_happens(backend):
    probabilities, image = drawn((1, 5, 4))
    found = DenseCrf(smoothness_weight=0, appearance_weight=0).apply(probabilities, image, SPACING, backend=backend)
    np.testing.assert_array_equal(found, probabilities)
    assert found is not probabilities


@pytest.mark.parametrize("backend", BACKENDS)
def test_probabilities_add_up_and_the_same_input_gives_the_same_output(backend):
    probabilities, image = drawn((2, 20, 17))
    probabilities[:, 0, 3] = np.array([1, 0, 0])[:, None]  # outside the field of view the background is certain
    first, second = (DenseCrf().apply(probabilities, image, SPACING, backend=backend) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == probabilities.shape
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.sum(0), 1, atol=1e-5)
    assert (first[0, 0, 3] > 0.999).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_classes_change_places_with_their_probabilities(backend):
    probabilities, image = drawn((1, 12, 10))
    order = [2, 0, 1]
    found = DenseCrf().apply(probabilities, image, SPACING, backend=backend)
    np.testing.assert_allclose(
        DenseCrf().apply(probabilities[order], image, SPACING, backend=backend), found[order], atol=1e-4
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lone_wrong_pixel_is_put_right(backend):
    organ = np.full((1, 11, 13), 0.05)
    organ[0, 5, 6] = 0.9
    found = DenseCrf().apply(np.stack([1 - organ, organ]), np.zeros((1, 11, 13)), SPACING, backend=backend)
    assert found[1].max() < 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_outline_moves_to_the_edge_in_the_image_that_smoothness_alone_does_not_see(backend):
    """The organ is bright and ends at column 15; the network, unsure there, lets it end at column 12."""
    image = np.zeros((1, 24, 30))
    image[:, :, :15] = 1
    organ = np.full((1, 24, 30), 0.03)
    organ[..., :12] = 0.97
    organ[..., 12:15] = 0.3
    probabilities = np.stack([1 - organ, organ])
    both = DenseCrf().apply(probabilities, image, (5, 1.6, 1.6), backend=backend)
    smooth = DenseCrf(**SMOOTH_ALONE).apply(probabilities, image, (5, 1.6, 1.6), backend=backend)
    np.testing.assert_array_equal(both[1] > 0.5, image == 1)
    assert (smooth[1] > 0.5).sum() == 24 * 12


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_corner_of_an_organ_that_smoothness_rounds_off_stays_where_the_image_shows_it(backend):
    image = np.zeros((1, 30, 30))
    image[:, 10:, 10:] = 1
    organ = np.where(image == 1, 0.6, 0.4)
    probabilities = np.stack([1 - organ, organ])
    smooth = DenseCrf(**SMOOTH_ALONE).apply(probabilities, image, (5, 1.6, 1.6), backend=backend)
    both = DenseCrf().apply(probabilities, image, (5, 1.6, 1.6), backend=backend)
    assert smooth[1, 0, 10, 10] < 0.5
    np.testing.assert_array_equal(both[1] > 0.5, image == 1)


def test_slices_do_not_see_each_other():
    probabilities, image = drawn((3, 9, 8))
    found = DenseCrf().apply(probabilities, image, SPACING)
    other = probabilities.copy()
    other[:, 0] = other[::-1, 0]
    np.testing.assert_array_equal(DenseCrf().apply(other, image, SPACING)[:, 1:], found[:, 1:])
    np.testing.assert_array_equal(DenseCrf().apply(probabilities, image, (1, *SPACING[1:])), found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_distances_are_in_millimetres(backend):
    probabilities, image = drawn((1, 14, 12))
    crf = DenseCrf(2, 4, 3, 12, 0.2, 4)
    twice = DenseCrf(2, 8, 3, 24, 0.2, 4)
    found = crf.apply(probabilities, image, (5, 1, 2), backend=backend)
    np.testing.assert_allclose(twice.apply(probabilities, image, (5, 2, 4), backend=backend), found, atol=1e-5)
    turned = crf.apply(probabilities.swapaxes(2, 3), image.swapaxes(1, 2), (5, 2, 1), backend=backend)
    assert np.abs(turned.swapaxes(2, 3) - found).max() < (1e-4 if backend == "mean_field" else 0.1)
    assert np.abs(crf.apply(probabilities, image, (5, 2, 1), backend=backend) - found).max() > 0.05


def test_brightness_and_contrast_of_the_scanner_do_not_matter():
    probabilities, image = drawn((2, 12, 10))
    found = DenseCrf().apply(probabilities, image, SPACING)
    np.testing.assert_allclose(DenseCrf().apply(probabilities, 300 + 50 * image, SPACING), found, atol=1e-3)


def test_the_middle_98_percent_of_the_intensities_fill_0_to_1_channel_by_channel():
    ramp = np.arange(101.0).reshape(1, 101, 1)
    spiked = ramp.copy()
    spiked[0, 100] = 1e6
    channels = np.stack([ramp, 5 - 3 * spiked, np.full_like(ramp, 4)])
    scaled = scaled_intensities(channels)
    np.testing.assert_allclose(scaled[0, 0, :, 0], np.clip((np.arange(101) - 1) / 98, 0, 1), atol=1e-6)
    np.testing.assert_allclose(scaled[1], 1 - scaled[0], atol=1e-6)  # the spike is cut off
    assert (scaled[2] == 0).all()


def test_the_two_backends_decide_alike():
    """Discs of three organs in noise, as in a slice of the abdomen: 64 × 80 pixels of 2.4 × 2 mm."""
    rows, columns = np.indices((64, 80))
    truth = np.zeros((64, 80), int)
    for index, (row, column, radius) in enumerate([(28, 22, 17), (40, 58, 8), (20, 62, 6)], 1):
        truth[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = index
    rng = np.random.default_rng(8)
    image = (np.array([0.2, 0.7, 0.5, 0.9])[truth] + rng.normal(0, 0.05, truth.shape))[None]
    logits = 1.5 * (np.arange(4)[:, None, None] == truth) + rng.normal(0, 1, (4, *truth.shape))
    probabilities = softmax(logits)[:, None]
    labels = [DenseCrf().apply(probabilities, image, (5, 2.4, 2), backend=b)[:, 0].argmax(0) for b in BACKENDS]
    assert (labels[0] == labels[1]).mean() > 0.995
    wrong = [(found != truth).mean() for found in (probabilities[:, 0].argmax(0), *labels)]
    assert max(wrong[1:]) < 0.02 < 0.2 < wrong[0]


def test_without_the_extra_the_fallback_is_taken(monkeypatch):
    probabilities, image = drawn((1, 6, 5))
    fallback = DenseCrf().apply(probabilities, image, SPACING, backend="mean_field")
    assert available_backend() == "pydensecrf2"  # installed for development
    monkeypatch.setattr(crf_module, "find_spec", lambda name: None)
    assert available_backend() == "mean_field"
    np.testing.assert_array_equal(DenseCrf().apply(probabilities, image, SPACING), fallback)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"smoothness_weight": -1}, "smoothness_weight must be 0 or more; came -1"),
        ({"appearance_weight": math.nan}, "appearance_weight"),
        ({"smoothness_mm": 0}, "smoothness_mm must be above 0; came 0"),
        ({"appearance_mm": math.inf}, "appearance_mm"),
        ({"appearance_contrast": 0}, "appearance_contrast"),
        ({"iterations": 0}, "iterations must be 1 or more; came 0"),
    ],
)
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        DenseCrf(**settings)


@pytest.mark.parametrize(
    ("shape", "image", "spacing", "said"),
    [
        ((2, 1, 4, 5), np.zeros((1, 5, 4)), SPACING, "came shapes"),
        ((2, 4, 5), np.zeros((4, 5)), SPACING, "came shapes"),
        ((2, 1, 4, 5), np.full((1, 4, 5), np.nan), SPACING, "finite"),
        ((2, 1, 4, 5), np.zeros((1, 4, 5)), (1.0, 0.0, 2.0), "three spacings above 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(shape, image, spacing, said):
    with pytest.raises(ValueError, match=said):
        DenseCrf().apply(np.full(shape, 0.5), image, spacing)


def test_a_bilateral_grid_too_large_for_the_memory_is_refused_before_it_is_made():
    probabilities, image = drawn((1, 30, 30), channels=4)
    with pytest.raises(ValueError, match="nodes is too large; raise appearance_contrast"):
        DenseCrf(appearance_contrast=0.01).apply(probabilities, image, SPACING, backend="mean_field")
    with pytest.raises(ValueError, match="backend must be 'pydensecrf2' or 'mean_field'; came 'gpu'"):
        DenseCrf().apply(probabilities, image, SPACING, backend="gpu")
