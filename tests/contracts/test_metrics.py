"""What every registered metric keeps to, the ones of tomorrow included."""

import numpy as np
import pytest

from masks import blob, grid, mask_of
from steelyard.confusion import count_labels
from steelyard.metrics import METRICS
from steelyard.metrics.boundary_match import SliceScores, match_slices
from steelyard.metrics.metric import COMPUTED, DIAGONAL, UNDEFINED
from steelyard.metrics.organ_pair import OrganPair, OrganTotals
from steelyard.metrics.overall import ClassTotals
from steelyard.metrics.score_histogram import ScoreHistogram

SHAPE = (7, 20, 16)
GOOD, BAD, EMPTY = blob(SHAPE, seed=1), blob(SHAPE, seed=2, share=0.1), mask_of(SHAPE)
HIGHER_SCORES_INSIDE = ScoreHistogram(np.array([[0, 1, 5]]), np.array([[90, 2, 0]]))
SITUATIONS = {
    "both_present": (GOOD, BAD),
    "both_empty": (EMPTY, EMPTY),
    "invented": (EMPTY, BAD),
    "missed": (GOOD, EMPTY),
}

ALL = list(METRICS)
OF_ORGANS = [name for name in METRICS if METRICS[name].reads != "classes"]
GLOBAL = [name for name in METRICS if METRICS[name].reads == "classes"]


def organ(reference, prediction):
    return OrganPair(reference, prediction, grid(SHAPE), HIGHER_SCORES_INSIDE)


def measured(name, reference, prediction):
    if METRICS[name].reads != "classes":
        return organ(reference, prediction)
    slices = [match_slices(r, s) for r, s in ((~reference, ~prediction), (reference, prediction))]
    stacked = (np.stack([getattr(s, c) for s in slices], axis=1) for c in ("matlab", "missing_as_zero"))
    return ClassTotals(count_labels(reference.astype(np.uint8), prediction.astype(np.uint8), 2), SliceScores(*stacked))


def test_no_two_metrics_share_name_convention_and_level():
    keys = [(METRICS[name].name, METRICS[name].convention, METRICS[name].reads == "classes") for name in ALL]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ALL)
def test_the_registered_name_is_the_name_in_tables_or_says_what_sets_it_apart(name):
    metric = METRICS[name]
    assert name in {metric.name, f"{metric.name}_{metric.convention}", f"global_{metric.name}"}


@pytest.mark.parametrize("name", ALL)
def test_a_name_that_ends_in_a_unit_has_that_unit(name):
    metric = METRICS[name]
    assert metric.unit in {"1", "%", "mm", "ml", "points"}
    assert (metric.unit in {"mm", "ml"}) == metric.name.endswith(f"_{metric.unit}")


@pytest.mark.parametrize("name", ALL)
def test_a_metric_says_what_it_is_in_one_line_and_by_what_formula(name):
    assert 10 < len(METRICS.entries[name].summary) < 110
    assert METRICS[name].compute.__doc__


@pytest.mark.parametrize("name", [name for name in ALL if METRICS[name].reads != "histogram"])
def test_the_perfect_prediction_gets_the_best_value_and_a_bad_one_a_worse(name):
    metric = METRICS[name]
    perfect, bad = metric(measured(name, GOOD, GOOD)), metric(measured(name, GOOD, BAD))
    best = {"higher": 100.0 if metric.unit == "points" else 1.0, "lower": 0.0, "nearer_zero": 0.0}[metric.better]
    assert perfect == pytest.approx(best)
    assert bad < perfect if metric.better == "higher" else abs(bad) > perfect


@pytest.mark.parametrize("name", [name for name in ALL if METRICS[name].reads == "histogram"])
def test_a_sweep_prefers_the_scores_that_rank_the_organ_higher(name):
    turned = OrganPair(GOOD, BAD, grid(SHAPE), ScoreHistogram(*(np.flip(side) for side in histogram_sides())))
    assert METRICS[name](turned) < METRICS[name](organ(GOOD, BAD)) <= 1


def histogram_sides():
    return HIGHER_SCORES_INSIDE.positives, HIGHER_SCORES_INSIDE.negatives


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", OF_ORGANS)
def test_a_metric_gives_what_it_declares_for_an_organ_that_is_not_in_both_masks(name, situation):
    metric, pair = METRICS[name], organ(*SITUATIONS[situation])
    score, declared = metric.score(pair, organ="liver"), metric.declared(situation)
    assert (score.metric, score.convention, score.unit, score.organ) == (
        metric.name,
        metric.convention,
        metric.unit,
        "liver",
    )
    if declared is UNDEFINED:
        assert (score.value, score.status) == (None, "undefined")
        return
    if declared is not COMPUTED:
        assert score.value == (grid(SHAPE).diagonal_mm if declared is DIAGONAL else declared)
    assert np.isfinite(score.value)
    assert score.status == (situation if situation in ("missed", "invented") else "ok")


@pytest.mark.parametrize("name", ALL)
def test_measuring_changes_neither_mask(name):
    before = GOOD.copy(), BAD.copy()
    METRICS[name](measured(name, GOOD, BAD))
    assert (before[0] == GOOD).all()
    assert (before[1] == BAD).all()


@pytest.mark.parametrize("name", [name for name in OF_ORGANS if METRICS[name].reads != "masks"])
def test_what_needs_no_masks_can_be_computed_from_totals(name):
    pair = organ(GOOD, BAD)
    totals = OrganTotals(pair.counts, pair.slices, pair.histogram)
    assert METRICS[name](totals) == METRICS[name](pair)
