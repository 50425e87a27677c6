"""Bounds on misses: by hand, and on 2000 simulated calibrations with a new patient each."""

import math

import numpy as np
import pytest

from steelyard.calibrate.conformal import cost_to_others, fit_bound, organ_changes
from steelyard.calibrate.voxels import CaseVoxels, case_voxels, tally
from steelyard.confusion import sensitivity
from steelyard.errors import BadSpec
from steelyard.postprocess.offsets import Offsets


def case_of(patient, needed, *, organ=1, class_count=3):
    """A case whose voxels, all of one organ, are found by the offsets just above those given."""
    odds = np.exp(-np.asarray(needed, np.float64))
    probabilities = np.zeros((class_count, odds.size), np.float32)
    probabilities[0], probabilities[organ] = 1 / (1 + odds), odds / (1 + odds)
    labels = np.full(odds.size, organ, np.uint8)
    return CaseVoxels(patient, 0.5, probabilities, labels, np.zeros((class_count, class_count), np.int64))


def test_the_bound_takes_the_smallest_offset_whose_corrected_mean_miss_is_within_it():
    """Nine patients: (9 R̂ + 1)/10 ≤ .2 needs Σ miss ≤ 1; misses of 2 × .5 at 1.2, of .25 more below .7."""
    cases = [case_of(f"easy {i}", [-4.0] * 4) for i in range(6)]
    cases += [
        case_of("half", [-4.0, -4.0, 2.0, 2.0]),
        case_of("other half", [-4.0, 2.5]),
        case_of("q", [0.7] + [-4] * 3),
    ]
    found = fit_bound(cases, 1, 0.2)
    assert found.offset == pytest.approx(0.7, abs=0.0011)
    assert found.offset > 0.7
    assert found.offsets == Offsets((0.0, found.offset, 0.0))
    assert found.patients == 9
    assert found.empirical_miss == pytest.approx(1 / 9)
    assert found.miss_before == pytest.approx(1.25 / 9)
    assert found.smallest_certifiable == pytest.approx(0.1)


def test_cases_of_a_patient_are_averaged_first_and_patients_without_the_organ_do_not_count():
    cases = [case_of("a", [-4.0, 1.0]), case_of("a", [-4.0, -4.0, -4.0, 1.0]), case_of("b", [-4.0])]
    cases += [case_of("c", [3.0], organ=2), case_of("a", [3.0], organ=2)]
    found = fit_bound(cases, 1, 0.5)
    assert found.patients == 2
    assert found.miss_before == pytest.approx((0.5 + 0.25) / 2 / 2)


def test_empirical_misses_are_those_of_the_decision_itself():
    generator = np.random.default_rng(4)
    cases = []
    for patient in range(12):
        probabilities = generator.dirichlet((2, 1, 1), 300).T.astype(np.float32)
        labels = generator.integers(0, 3, 300)
        cases.append(case_voxels(probabilities, labels, patient_id=f"{patient // 2}", voxel_ml=0.2))
    base = Offsets((0.0, 0.4, -0.6))
    found = fit_bound(cases, 2, 0.35, base=base)
    assert found.offsets == base.moved(2, found.offset)
    for offsets, miss in ((found.offsets, found.empirical_miss), (base, found.miss_before)):
        decided = tally(cases, offsets)
        assert miss == pytest.approx(1 - decided.patient_means(sensitivity(decided.counts))[:, 2].mean())
    below = tally(cases, base.moved(2, found.offset - 0.001))
    assert (6 * (1 - below.patient_means(sensitivity(below.counts))[:, 2].mean()) + 1) / 7 > 0.35


def test_a_bound_already_met_may_lower_the_offset_unless_that_is_forbidden():
    cases = [case_of(f"{i}", [-4.0] * 9 + [-1.0]) for i in range(19)]
    assert fit_bound(cases, 1, 0.15).offset == pytest.approx(-4.0, abs=0.0011)  # at −4 all but one tenth are found
    kept = fit_bound(cases, 1, 0.15, lowest=0.0)
    assert kept.offset == 0.0
    assert kept.empirical_miss == 0.0


def test_nine_patients_can_certify_a_tenth_and_no_less():
    cases = [case_of(f"{i}", [1.0, 2.0]) for i in range(9)]
    assert fit_bound(cases, 1, 0.1).offset == pytest.approx(2.0, abs=0.0011)
    with pytest.raises(
        BadSpec, match=r"at most 0.09 was asked, but 9 patients .* no less than 0.1: .* takes 11 patients"
    ):
        fit_bound(cases, 1, 0.09)
    with pytest.raises(BadSpec, match="no patient has the organ: that takes 9 patients"):
        fit_bound(cases, 2, 0.1)


def test_voxels_of_probability_0_cannot_be_bought_by_any_offset():
    lost = [case_of(f"{i}", [1.0, np.inf]) for i in range(12)]
    with pytest.raises(
        BadSpec, match=r"12 patients still miss 0.5 .* certifies 0.5385: no number of patients would do"
    ):
        fit_bound(lost, 1, 0.2)
    few = [case_of(f"{i}", [1.0] * 9 + [np.inf]) for i in range(12)]
    with pytest.raises(BadSpec, match=r"still miss 0.1 .* certifies 0.1692: with such a mean it takes 17 patients"):
        fit_bound(few, 1, 0.15)
    enough = [case_of(f"{i}", [1.0] * 9 + [np.inf]) for i in range(17)]
    assert fit_bound(enough, 1, 0.15).empirical_miss == pytest.approx(0.1)


@pytest.mark.parametrize("max_miss", [0.0, 1.0, -0.1])
def test_a_bound_is_a_share(max_miss):
    with pytest.raises(BadSpec, match="between 0 and 1"):
        fit_bound([case_of("a", [1.0])], 1, max_miss)


def test_the_background_has_no_bound():
    with pytest.raises(ValueError, match="class 0"):
        fit_bound([case_of("a", [1.0])], 0, 0.5)


def test_the_promise_says_for_whom_and_for_what_it_holds():
    found = fit_bound([case_of(f"{i}", [1.0]) for i in range(9)], 1, 0.125)
    assert found.promise("right kidney") == (
        "On average over new patients like these 9, at most 12.5 % of the right kidney's voxels are missed. This holds "
        "in expectation over patients, not for each patient, and for the right kidney only."
    )


def test_what_one_organ_gains_the_others_pay():
    """One voxel of each kind; at log 3 the liver takes the spleen's voxel and one of the background's."""
    probabilities = np.array([[0.1, 0.1, 0.6, 0.9], [0.8, 0.4, 0.4, 0.05], [0.1, 0.5, 0.0, 0.05]], np.float32)
    case = case_voxels(probabilities, np.array([1, 2, 0, 0]), patient_id="a", voxel_ml=0.25)
    before, after = Offsets.none(3), Offsets((0.0, math.log(3), 0.0))
    liver, spleen = organ_changes([case], before, after)
    assert (liver.iou_before, liver.iou_after) == pytest.approx((1, 1 / 3))
    assert (liver.spilled_ml_before, liver.spilled_ml_after) == (0, 0.5)
    assert (spleen.iou_before, spleen.iou_after) == (1, 0)
    assert (spleen.missed_ml_before, spleen.missed_ml_after) == (0, 0.25)
    assert cost_to_others([case], before, after) == (spleen,)


DRAWS, CALIBRATION, BOUND = 2000, 14, 0.1


@pytest.fixture(scope="module")
def population():
    """Patients who differ far more than the voxels of one: nearly all of an organ is found, or hardly any."""
    generator = np.random.default_rng(11)
    middles = generator.normal(-1.0, 1.5, 3000)
    return [case_of(str(i), generator.normal(middle, 0.4, 30), class_count=2) for i, middle in enumerate(middles)]


def mean_miss_of_new_patients(population, bound):
    """Mean and standard error over draws of 14 patients to calibrate on and one to try."""
    generator = np.random.default_rng(12)
    misses = []
    for _ in range(DRAWS):
        *calibration, new = generator.choice(len(population), CALIBRATION + 1, replace=False)
        offsets = fit_bound([population[i] for i in calibration], 1, bound).offsets
        misses.append((offsets(population[new].probabilities) != 1).mean())
    return np.mean(misses), np.std(misses) / math.sqrt(DRAWS)


def test_new_patients_miss_no_more_than_the_bound_and_not_needlessly_less(population):
    mean, error = mean_miss_of_new_patients(population, BOUND)
    assert mean <= BOUND + 2 * error
    assert mean > BOUND / 2


def test_without_the_correction_for_few_patients_the_bound_breaks(population):
    """(n R̂ + 1)/(n + 1) ≤ (n b + 1)/(n + 1) is R̂ ≤ b: the bound taken at its word on the patients at hand."""
    mean, error = mean_miss_of_new_patients(population, (CALIBRATION * BOUND + 1) / (CALIBRATION + 1))
    assert mean > BOUND + 2 * error
