"""Holm's correction against statsmodels and scikit-posthocs, and with members of the family missing."""

from __future__ import annotations

import numpy as np
import pytest
import scikit_posthocs
from statsmodels.stats.multitest import multipletests

from steelyard.stats.holm import holm
from steelyard.stats.paired import paired_differences
from steelyard.stats.signed_rank import signed_rank_p


def test_four_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.001, 0.03, 0.3])), [0.09, 0.004, 0.09, 0.3])  # 2 · .04 < 3 · .03


def test_adjusted_values_are_those_of_statsmodels_in_every_family():
    p = np.random.default_rng(3).uniform(0, 0.3, (5, 24))
    for one, adjusted in zip(p, holm(p), strict=True):
        np.testing.assert_allclose(adjusted, multipletests(one, method="holm")[1])


def test_undeclared_absence_does_not_shrink_the_family():
    p = np.array([0.01, np.nan, 0.02])
    with_ones = multipletests([0.01, 1, 0.02, 1, 1], method="holm")[1]
    np.testing.assert_allclose(holm(p, family_size=5), [with_ones[0], np.nan, with_ones[2]])


def test_a_family_smaller_than_its_members_is_refused():
    with pytest.raises(ValueError, match="a family of 2 comparisons cannot hold 3"):
        holm(np.array([0.1, 0.2, 0.3]), family_size=2)


def test_wilcoxon_and_holm_together_are_those_of_scikit_posthocs():
    values = np.random.default_rng(4).normal([0.0, 0.5, 1.1], 1, (12, 3))
    table = scikit_posthocs.posthoc_wilcoxon(values.T, p_adjust="holm").to_numpy()
    pairs = ([0, 0, 1], [1, 2, 2])
    ours = holm(signed_rank_p(paired_differences(values[:, pairs[1]], values[:, pairs[0]])))
    np.testing.assert_allclose(ours, table[pairs])
