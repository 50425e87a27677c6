"""Areas under the ROC and precision–recall curves: by hand, and against scikit-learn on binned and on raw scores."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from masks import grid, label_map
from steelyard.metrics.organ_pair import OrganPair
from steelyard.metrics.roc import auc_resolution, pr_auc, pr_curve, roc_auc, roc_curve
from steelyard.metrics.score_histogram import ScoreHistogram, histogram_scores


def organ(positives, negatives):
    masks = np.ones((1, 1, 2), bool)  # in both, so that nothing but the histogram decides
    return OrganPair(masks, masks, grid(masks.shape), ScoreHistogram(np.array([positives]), np.array([negatives])))


def test_roc_area_is_the_chance_of_ranking_right_with_ties_counting_half():
    """Organ voxels in bins 1 (one) and 2 (two), others in bins 0 (two), 1 (two): of 12 pairs 10 right and 2 tied."""
    assert roc_auc(organ([0, 1, 2], [2, 2, 0])) == pytest.approx((10 + 0.5 * 2) / 12)


def test_average_precision_steps_down_from_the_highest_bin():
    """Thresholds falling: recall 2/3 at precision 1, then 1 at 3/5; nothing more to find in the last bin."""
    assert pr_auc(organ([0, 1, 2], [2, 2, 0])) == pytest.approx(2 / 3 * 1 + 1 / 3 * 3 / 5)


def test_the_resolution_is_half_the_share_of_pairs_in_one_bin():
    """Two of the twelve pairs are tied: at best both are ranked right, at worst both wrong."""
    assert auc_resolution(ScoreHistogram(np.array([[0, 1, 2]]), np.array([[2, 2, 0]]))) == pytest.approx(1 / 12)


def test_without_histogram_there_is_no_area():
    masks = np.ones((1, 1, 2), bool)
    bare = OrganPair(masks, masks, grid(masks.shape))
    assert roc_auc(bare) is None
    assert pr_auc(bare) is None


def test_curves_start_at_nothing_found_and_end_at_everything():
    histogram = ScoreHistogram(np.array([[0, 1, 2]]), np.array([[2, 2, 0]]))
    fpr, tpr = roc_curve(histogram)
    assert fpr.tolist() == [0, 0, 0.5, 1]
    assert tpr.tolist() == pytest.approx([0, 2 / 3, 1, 1])
    recall, precision = pr_curve(histogram)
    assert recall.tolist() == pytest.approx([0, 2 / 3, 1, 1])
    assert precision.tolist() == pytest.approx([1, 1, 3 / 5, 3 / 7])


def crowded_scores(seed):
    """Probabilities as networks give them: nearly all within a thousandth of 0 or 1."""
    random = np.random.default_rng(seed)
    labels = (random.random((6, 40, 40)) < 0.03).astype(int)
    logits = random.normal(-9, 3, labels.shape) + labels * random.normal(11, 4, labels.shape)
    heart = 1 / (1 + np.exp(-logits))
    return labels, np.stack([1 - heart, heart, np.zeros_like(heart)]).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees_exactly_on_binned_scores(seed):
    labels, probabilities = crowded_scores(seed)
    whole = histogram_scores(probabilities, label_map(labels)).of_class(1)
    bins = np.arange(whole.positives.shape[1])
    scores = np.concatenate([np.repeat(bins, whole.positives[0]), np.repeat(bins, whole.negatives[0])])
    truth = np.repeat([1, 0], [whole.positives.sum(), whole.negatives.sum()])
    pair = organ(whole.positives[0], whole.negatives[0])
    assert roc_auc(pair) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert pr_auc(pair) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(truth, scores)
    ours = {(round(r, 9), round(p, 9)) for r, p in zip(*pr_curve(whole), strict=True)}
    assert {(round(r, 9), round(p, 9)) for r, p in zip(recall, precision, strict=True)} <= ours


@pytest.mark.parametrize("seed", range(3))
def test_binning_moves_the_roc_area_by_no_more_than_the_stated_resolution(seed):
    labels, probabilities = crowded_scores(seed)
    whole = histogram_scores(probabilities, label_map(labels)).of_class(1)
    pair = organ(whole.positives[0], whole.negatives[0])
    raw = roc_auc_score(labels.ravel(), probabilities[1].ravel())
    assert abs(roc_auc(pair) - raw) <= auc_resolution(whole) < 1e-3
    assert pr_auc(pair) == pytest.approx(average_precision_score(labels.ravel(), probabilities[1].ravel()), abs=2e-3)
