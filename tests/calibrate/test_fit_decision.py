"""Fitted decisions against brute force, against formulas, and on models whose best decision is known."""

import itertools
import math

import numpy as np
import pytest

from steelyard.calibrate import fewer_voxels, fit_decision
from steelyard.calibrate.fewer_voxels import every_kth
from steelyard.calibrate.fit_decision import LIMIT, fit_offsets, fit_optimal, mean_index, optimal_rule, sweep
from steelyard.calibrate.margins import first_above
from steelyard.calibrate.objective import Cost, LeastSpill, MeanIndex, VolumeBias
from steelyard.calibrate.voxels import REACH, case_voxels, tally
from steelyard.confusion import Confusion, count_labels, tversky_index
from steelyard.errors import BadSpec
from steelyard.postprocess.offsets import Offsets


def drawn_case(seed, *, voxels=4000, sharpness=2.0, background=2.0, bias=(0.0, 0.0, 0.0), patient="a", voxel_ml=0.3):
    """Labels drawn from a model's probabilities; the network reports them with a bias of so much per class's logit."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, sharpness, (len(bias), voxels))
    logits[0] += background
    truth = np.exp(logits) / np.exp(logits).sum(0)
    labels = (truth.cumsum(0) < generator.random(voxels)).sum(0)
    logits += np.reshape(bias, (-1, 1))
    reported = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
    return case_voxels(reported, labels, patient_id=patient, voxel_ml=voxel_ml)


def quantised_case(seed):
    """Probabilities in eighths, so that ties abound when odds are doubled or halved."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(8, (0.4, 0.2, 0.2, 0.2), 3000).T
    return case_voxels((counts / 8).astype(np.float32), generator.integers(0, 4, 3000), patient_id="q", voxel_ml=1)


def same(found, expected):
    return all((getattr(found.counts, n) == getattr(expected.counts, n)).all() for n in ("tp", "fp", "fn", "tn"))


@pytest.mark.parametrize("organ", [1, 2, 3])
@pytest.mark.parametrize(
    "offsets",
    [np.round(np.arange(-60, 61) * 0.1, 2), np.array([3.0, -1.0, REACH, 0.0]), math.log(2) * np.arange(-3, 4), [0.0]],
    ids=["even", "unsorted", "ties", "single"],
)
def test_one_pass_counts_what_deciding_at_every_offset_counts(organ, offsets):
    cases = [quantised_case(1), drawn_case(2, bias=(0.0,) * 4), quantised_case(3)]
    base = Offsets((0.0, math.log(2), -0.3, math.log(0.5)))
    for offset, found in zip(offsets, sweep(cases, organ, offsets, base=base), strict=True):
        assert same(found, tally(cases, base.moved(organ, offset)))


@pytest.mark.parametrize("offsets", [np.round(np.arange(-60, 61) * 0.1, 2), np.round(np.arange(77, 128) * 0.01, 2)])
def test_a_weight_just_at_a_turning_point_is_not_above_it(offsets):
    weights = np.exp(offsets)
    turning = np.concatenate([weights, np.nextafter(weights, 0), np.nextafter(weights, np.inf), [0, 1e-300, np.inf]])
    assert (first_above(offsets, weights, turning) == np.searchsorted(weights, turning, side="right")).all()


def test_raising_an_organs_offset_never_raises_what_is_missed_of_it_nor_lowers_what_it_spills():
    found = sweep([quantised_case(1), drawn_case(2, bias=(0.0,) * 4)], 2, np.linspace(-6, 6, 200))
    missed, spilled = (
        np.stack([m[:, 2] for m in ms]) for ms in ([t.missed_ml for t in found], [t.spilled_ml for t in found])
    )
    assert (np.diff(missed, axis=0) <= 0).all()
    assert (np.diff(spilled, axis=0) >= 0).all()
    assert missed[0].min() > missed[-1].max()


def test_sweeping_what_is_no_organ_or_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="class 0"):
        sweep([quantised_case(1)], 0, np.zeros(1))
    with pytest.raises(ValueError, match=r"were dropped; came 9\.5"):
        sweep([quantised_case(1)], 1, np.array([9.5]))


@pytest.mark.parametrize(("fn_per_ml", "best"), [(1.0, 1.3), (3.0, 1.3 + math.log(3))])
def test_a_network_too_shy_of_an_organ_gets_exactly_its_shyness_back(fn_per_ml, best):
    """Errors cost least where the true odds of the organ exceed the price of a spill over that of a miss."""
    cases = [drawn_case(seed, voxels=60_000, bias=(0.0, -1.3)) for seed in (1, 2)]
    fitted = fit_offsets(cases, Cost(fn_per_ml, 1.0), class_count=2)
    assert fitted.values[1] == pytest.approx(best, abs=0.1)


def test_no_pair_of_offsets_on_a_grid_beats_the_fitted_ones():
    cases = [drawn_case(s, bias=(0.0, -1.0, 0.8), patient=p, voxel_ml=v) for s, p, v in ((1, "a", 0.3), (2, "b", 0.7))]
    grid = np.round(np.arange(-2, 2.6, 0.25), 2)
    for objective in (MeanIndex(), Cost(2.0, 1.0), VolumeBias(20.0)):
        fitted = objective.merit(tally(cases, fit_offsets(cases, objective, class_count=3)))
        best = max(objective.merit(tally(cases, Offsets((0.0, *pair)))) for pair in itertools.product(grid, grid))
        assert fitted[0] == best[0] == 0
        assert fitted[1] >= best[1] - 0.001 * abs(best[1])


def test_recall_is_held_with_the_lowest_offset_that_holds_it_and_no_other_organ_moves():
    cases = [drawn_case(seed, bias=(0.0, -1.0, 0.8), patient=str(seed)) for seed in (1, 2, 3)]
    objective = LeastSpill(1, 0.8)
    fitted = fit_offsets(cases, objective, class_count=3)
    assert fitted.values[2] == 0
    assert objective.merit(tally(cases, fitted))[0] == 0
    assert objective.merit(tally(cases, fitted.moved(1, fitted.values[1] - 0.01)))[0] < 0


def test_a_bias_of_every_organ_is_removed_although_only_the_worst_shows():
    cases = [drawn_case(seed, voxels=20_000, bias=(0.0, -1.5, 1.5, -0.7), patient=str(seed)) for seed in (1, 2)]
    objective = VolumeBias(6.0)
    assert objective.merit(tally(cases, Offsets.none(4)))[0] < -100
    assert objective.merit(tally(cases, fit_offsets(cases, objective, class_count=4)))[0] == 0


def test_a_fit_never_does_worse_than_the_most_probable_class_and_always_comes_out_alike():
    for seed in (1, 2):
        cases = [drawn_case(seed, voxels=60, bias=(0.0, 0.0, 0.0))]
        for objective in (MeanIndex("dice"), Cost(1.0, 2.0), VolumeBias(0.1)):
            fitted = fit_offsets(cases, objective, class_count=3)
            assert objective.merit(tally(cases, fitted)) >= objective.merit(tally(cases, Offsets.none(3)))
            assert fit_offsets(cases, objective, class_count=3) == fitted
            assert max(np.abs(fitted.values)) <= LIMIT


def test_offsets_stay_within_the_limit_when_more_would_always_be_better():
    assert fit_offsets([drawn_case(1, bias=(0.0, -3.0))], Cost(1e6, 1.0), class_count=2).values[1] <= LIMIT
    assert fit_offsets([drawn_case(1, bias=(0.0, 3.0))], Cost(0.0, 1.0), class_count=2).values[1] < -3


@pytest.mark.parametrize("sign", [1, -1])
def test_of_offsets_that_do_equally_well_the_smallest_is_taken(sign):
    """Above 1 the organ's voxel is found, above 3 the background's is lost; then the same at −3 and −1."""
    organ = 1 / (1 + np.exp([1.0, 3.0] if sign > 0 else [-3.0, -1.0]))
    case = case_voxels(np.stack([1 - organ, organ]), np.array([1, 0]), patient_id="a", voxel_ml=1)
    fitted = fit_offsets([case], MeanIndex(), class_count=2)
    assert fitted.values[1] == pytest.approx(sign * 1.1, abs=0.11)
    assert MeanIndex().merit(tally([case], fitted)) == (0, 1)


def test_a_first_look_that_misleads_does_no_harm(monkeypatch):
    monkeypatch.setattr(fit_decision, "ENOUGH_VOXELS", 5)
    monkeypatch.setattr(fewer_voxels, "OF_AN_ORGAN", 1)
    for seed in range(8):
        cases = [drawn_case(seed, voxels=200, sharpness=4.0)]
        fitted = fit_offsets(cases, MeanIndex(), class_count=3)
        assert MeanIndex().merit(tally(cases, fitted)) >= MeanIndex().merit(tally(cases, Offsets.none(3)))


def test_a_thinner_first_look_leads_to_the_same_hill(monkeypatch):
    cases = [drawn_case(seed, voxels=60_000, bias=(0.0, -1.0, 0.8)) for seed in (1, 2)]
    exact = MeanIndex().merit(tally(cases, fit_offsets(cases, MeanIndex(), class_count=3)))
    monkeypatch.setattr(fit_decision, "ENOUGH_VOXELS", 10_000)
    assert max(case.labels.size for case in every_kth(cases, 10_000)) < 6000
    thin = MeanIndex().merit(tally(cases, fit_offsets(cases, MeanIndex(), class_count=3)))
    assert thin[1] == pytest.approx(exact[1], abs=2e-4)


def test_what_does_not_fit_is_refused():
    cases = [drawn_case(1)]
    with pytest.raises(ValueError, match="cases of 5 classes were wanted; came 3"):
        fit_offsets(cases, MeanIndex(), class_count=5)
    with pytest.raises(BadSpec, match="about class 7; the organs are classes 1–2"):
        fit_offsets(cases, LeastSpill(7, 0.9), class_count=3)
    with pytest.raises(BadSpec, match="not both 0"):
        fit_optimal(cases, fp_weight=0, fn_weight=0)


def test_threshold_and_slope_follow_from_the_counts():
    counts = Confusion(*(np.array([0, n, 0, 0]) for n in (30, 10, 20, 940)))
    counts.fn[3] = 7  # never predicted; class 2 is neither there nor predicted
    rule = optimal_rule(counts, fp_weight=1.5, fn_weight=0.5)
    T, D = 30 / 55, 30 + 15 + 10
    assert rule.slopes == pytest.approx((0, (1 + T) / D, 0, 1 / 3.5))
    assert rule.thresholds == pytest.approx((0, 1.5 * T / (1 + T), 1, 1e-4))


@pytest.mark.parametrize(("fp_weight", "fn_weight"), [(1.0, 1.0), (0.5, 0.5), (1.7, 0.3), (0.3, 1.7), (0.2, 0.4)])
def test_the_threshold_of_a_calibrated_two_class_model_is_the_best_of_all(fp_weight, fn_weight):
    """Of 400 voxels with probability p exactly 400 p are the organ; every other threshold is tried."""
    levels = np.arange(0.0025, 1, 0.005)
    labels = np.concatenate([np.arange(400) < round(400 * level) for level in levels]).astype(np.uint8)
    organ = np.repeat(levels, 400)
    case = case_voxels(np.stack([1 - organ, organ]), labels, patient_id="a", voxel_ml=1)
    weights = {"fp_weight": fp_weight, "fn_weight": fn_weight}
    rule = fit_optimal([case], **weights)
    edges = np.append(0, levels + 0.0025)
    index = [tversky_index(count_labels(labels, organ > edge, 2), **weights)[1] for edge in edges]
    found = mean_index(tally([case], rule).counts.over_cases(), **weights)
    assert found == pytest.approx(max(index), abs=1e-12)
    T = max(index)
    assert rule.thresholds[1] == pytest.approx(fp_weight * T / (1 - (1 - fp_weight - fn_weight) * T), abs=1e-3)
    assert rule.thresholds[1] == pytest.approx(edges[int(np.argmax(index))], abs=0.006)


def test_for_a_calibrated_model_the_optimal_rule_and_offsets_both_beat_the_most_probable_class():
    weights = {"fp_weight": 1.0, "fn_weight": 1.0}
    for seed in (1, 2, 3):
        cases = [drawn_case(seed, voxels=40_000, sharpness=1.5, background=2.5, bias=(0.0,) * 4)]
        optimal, offsets, plain = (
            mean_index(tally(cases, rule).counts.over_cases(), **weights)
            for rule in (fit_optimal(cases), fit_offsets(cases, MeanIndex(), class_count=4), Offsets.none(4))
        )
        assert optimal >= offsets - 0.005
        assert min(optimal, offsets) > plain + 0.01
        assert abs(optimal - offsets) < 0.01


def test_an_optimal_rule_that_prices_spills_spills_less():
    cases = [drawn_case(1, voxels=20_000, bias=(0.0,) * 3)]
    careful, generous = (tally(cases, fit_optimal(cases, fp_weight=a, fn_weight=2 - a)) for a in (1.5, 0.5))
    assert (careful.spilled_ml[0, 1:] < generous.spilled_ml[0, 1:]).all()
    assert (careful.missed_ml[0, 1:] > generous.missed_ml[0, 1:]).all()


def test_an_organ_that_is_nowhere_is_never_decided():
    case = drawn_case(1, bias=(0.0,) * 3)
    two = case.labels == 2
    case.labels[two] = 0
    rule = fit_optimal([case])
    assert tally([case], rule).counts.tp[0, 2] == 0
    assert np.isfinite(rule.slopes).all()
