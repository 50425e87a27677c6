"""Wilcoxon's test against scipy's, against all sign patterns, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import PermutationMethod, wilcoxon

from steelyard.stats.signed_rank import signed_rank_p, smallest_p

EVERY_PATTERN = PermutationMethod(n_resamples=2**14)


def p_of(*differences: float) -> float:
    return float(signed_rank_p(np.array(differences)[:, None])[0])


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ((0.5, 1, 2, 3, 4), 2 / 32),
        ((0.5, 1, 2, 3, -4), 20 / 32),  # rank sum 5 against 10: 10 of 32 patterns reach at most 5
        ((1, 1, 1), 2 / 8),
        ((1, 1, -1), 1),  # ranks 2, 2, 2: the sums are 0, 2, 4, 6
        ((0, 1, 2), 2 / 4),
        ((0, 0, 0), 1),
        ((7,), 1),
    ],
)
def test_small_cases_by_hand(differences, p):
    assert p_of(*differences) == pytest.approx(p)


def test_without_ties_it_is_the_exact_test_of_scipy():
    x = np.random.default_rng(1).normal(0.4, 1, (14, 6))
    np.testing.assert_allclose(signed_rank_p(x), wilcoxon(x, method="exact").pvalue)


@pytest.mark.parametrize("seed", range(6))
def test_with_ties_and_zeros_it_counts_every_sign_pattern(seed):
    x = np.random.default_rng(seed).integers(-3, 6, 12).astype(float)
    assert p_of(*x) == pytest.approx(wilcoxon(x, zero_method="pratt", method=EVERY_PATTERN).pvalue)


def test_ties_without_zeros_are_exact_for_fourteen_patients_too():
    x = np.array([1.0, 1, 2, 2, 2, 3, -1, -2, 4, 4, 5, -3, 6, 6])
    assert p_of(*x) == pytest.approx(wilcoxon(x, method=EVERY_PATTERN).pvalue, rel=1e-9)


def test_zeros_hold_their_ranks():
    dropped_first = wilcoxon([1, 2, 3, -4], method="exact").pvalue
    assert p_of(0, 0, 0, 1, 2, 3, -4) != pytest.approx(dropped_first)
    assert p_of(0, 0, 0, 1, 2, 3, -4) == pytest.approx(
        wilcoxon([0, 0, 0, 1, 2, 3, -4], zero_method="pratt", method=EVERY_PATTERN).pvalue
    )


def test_the_smallest_p_is_that_of_patients_who_all_gain():
    for patients in (1, 5, 9, 20):
        assert smallest_p(patients) == pytest.approx(p_of(*np.arange(1.0, patients + 1)))


def test_undefined_patients_are_left_out_and_no_patient_gives_no_p():
    x = np.array([[1.0, np.nan], [2, np.nan], [np.nan, np.nan], [4, np.nan]])
    p = signed_rank_p(x)
    assert p[0] == pytest.approx(2 / 8)
    assert np.isnan(p[1])
    assert np.isnan(smallest_p(0))
