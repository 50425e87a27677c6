"""Which words a family of comparisons earns."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.stats.signed_rank import signed_rank_p
from steelyard.stats.studentised import RESAMPLES, mean_p, studentised_interval
from steelyard.stats.verdict import family_p, judge_quickly, resamples_for, verdicts

FOURTEEN = np.full(5, 14)
P_HOLM = np.array([0.01, 0.02, 0.03, 0.049, 0.05])
LOW, HIGH = np.array([2.0, -7, -1, -6, 3]), np.array([9.0, -3, 4, 1, 8])


def test_found_needs_p_and_interval_both():
    found = verdicts(P_HOLM, (LOW, HIGH), FOURTEEN)
    assert list(found) == ["better", "worse", "undecided", "undecided", "undecided"]


def test_less_of_a_bad_thing_is_better():
    found = verdicts(P_HOLM, (LOW, HIGH), FOURTEEN, higher_is_better=False)
    assert list(found) == ["worse", "better", "undecided", "undecided", "undecided"]


@pytest.mark.parametrize(
    ("patients", "family_size", "word"),
    [
        (9, 24, "too few"),
        (10, 24, "better"),
        (5, 1, "too few"),
        (6, 1, "better"),
        (10, 26, "too few"),
        (0, 1, "too few"),
    ],
)
def test_too_few_is_when_all_gaining_could_not_be_enough(patients, family_size, word):
    count = np.array([patients])
    found = verdicts(np.array([0.001]), (np.array([1.0]), np.array([2.0])), count, family_size=family_size)
    assert list(found) == [word]


def test_a_comparison_of_fewer_patients_comes_late_in_holms_order():
    """7 patients alone in a family of 4 would need 4 · 2/2⁷ = .0625; after three of 14 patients, 1 · 2/2⁷ = .016."""
    nothing = (np.zeros(4), np.zeros(4))
    assert list(verdicts(np.ones(4), nothing, np.full(4, 7))) == ["too few"] * 4
    assert list(verdicts(np.ones(4), nothing, np.array([14, 14, 7, 14]))) == ["undecided"] * 4


def test_the_larger_of_the_two_p_goes_through_holm():
    np.testing.assert_allclose(
        family_p(np.array([0.001, 0.02]), np.array([0.004, 0.01]), family_size=3), [3 * 0.004, 2 * 0.02]
    )
    assert np.isnan(family_p(np.array([0.5]), np.array([np.nan]))).all()


def test_resamples_suffice_for_large_families():
    assert resamples_for(24) == RESAMPLES
    assert 2 / (resamples_for(300) + 1) * 300 == pytest.approx(0.005)


def test_judging_quickly_gives_the_same_words_as_computing_everything():
    shifts = np.linspace(-1.5, 1.5, 12)
    differences = np.random.default_rng(8).gamma(2, 1, (14, 40, 12)) - 2 + shifts
    p, mean = signed_rank_p(differences), mean_p(differences, seed=3, resamples=1999)
    interval = studentised_interval(differences, seed=3, resamples=1999)
    whole = verdicts(family_p(p, mean), interval, np.full((40, 12), 14))
    assert {"better", "worse", "undecided"} == set(whole.ravel())
    np.testing.assert_array_equal(judge_quickly(differences, seed=3, resamples=1999), whole)
