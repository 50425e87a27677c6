"""Histograms of probabilities: who lands where, and that cases add up."""

import numpy as np
import pytest

from masks import label_map
from steelyard.metrics.score_histogram import BIN_COUNT, histogram_scores


def probabilities_of(foreground: np.ndarray) -> np.ndarray:
    """Three classes (background, heart, lung); the lung always gets a tenth of what the heart leaves."""
    rest = 1 - foreground
    return np.stack([0.9 * rest, foreground, 0.1 * rest]).astype(np.float32)


def test_each_voxel_is_counted_once_per_class_inside_or_outside():
    labels = np.array([0, 1, 2, 1, 0, 0]).reshape(1, 2, 3)
    heart = np.array([0.1, 0.9, 0.2, 0.6, 0.4, 0.5]).reshape(1, 2, 3)
    histogram = histogram_scores(probabilities_of(heart), label_map(labels))
    assert histogram.positives.shape == histogram.negatives.shape == (3, BIN_COUNT)
    assert histogram.positives.sum(axis=1).tolist() == [3, 2, 1]
    assert histogram.negatives.sum(axis=1).tolist() == [3, 4, 5]
    bin_of_9_tenths = int((np.log(9) + 16) * 64)
    assert histogram.positives[1, bin_of_9_tenths] == 1
    assert histogram.positives[1, BIN_COUNT // 2 :].sum() == 2
    assert histogram.negatives[1, BIN_COUNT // 2 :].sum() == 1  # the one at exactly one half


def test_certain_probabilities_land_in_the_outermost_bins():
    labels = np.array([0, 1]).reshape(1, 1, 2)
    histogram = histogram_scores(probabilities_of(np.array([0.0, 1.0]).reshape(1, 1, 2)), label_map(labels))
    assert histogram.positives[1, -1] == 1
    assert histogram.negatives[1, 0] == 1


def test_half_precision_probabilities_are_binned_as_their_values():
    random = np.random.default_rng(0)
    labels, heart = random.integers(0, 3, (2, 5, 5)), random.random((2, 5, 5))
    half = probabilities_of(heart).astype(np.float16)
    ours, expected = (histogram_scores(p, label_map(labels)) for p in (half, half.astype(np.float64)))
    np.testing.assert_array_equal(ours.positives, expected.positives)


def test_histograms_of_two_cases_add_to_that_of_both():
    random = np.random.default_rng(1)
    labels, heart = random.integers(0, 3, (4, 5, 6)), random.random((4, 5, 6))
    whole = histogram_scores(probabilities_of(heart), label_map(labels))
    parts = [histogram_scores(probabilities_of(heart[s]), label_map(labels[s])) for s in (slice(0, 1), slice(1, 4))]
    added = parts[0] + parts[1]
    np.testing.assert_array_equal(added.positives, whole.positives)
    np.testing.assert_array_equal(added.negatives, whole.negatives)
    np.testing.assert_array_equal(whole.of_class(2).positives, whole.positives[[2]])


@pytest.mark.parametrize("wrong", [np.full((3, 1, 1, 2), 1.5), np.full((3, 1, 1, 2), np.nan), np.zeros((2, 1, 1, 2))])
def test_logits_nan_or_another_class_count_are_refused(wrong):
    with pytest.raises(ValueError, match="probabilities"):
        histogram_scores(wrong, label_map(np.zeros((1, 1, 2))))
