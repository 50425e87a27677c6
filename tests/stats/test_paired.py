"""Differences per patient: counts, means and spreads, with gaps."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from steelyard.stats.paired import by_patient_count, minimum_detectable, paired_differences, summarise

NAN = np.nan


def test_a_patient_undefined_on_either_side_has_no_difference():
    baseline = np.array([[0.5], [NAN], [0.7], [0.2]])
    values = np.array([[0.6, 0.1], [0.9, 0.8], [NAN, 0.3], [0.2, 0.6]])
    differences = paired_differences(values, baseline)
    np.testing.assert_array_equal(differences, [[0.1, -0.4], [NAN, NAN], [NAN, -0.4], [0, 0.4]])


def test_equal_differences_are_equal_in_spite_of_rounding():
    assert 0.7 - 0.6 != 0.8 - 0.7
    assert len(set(paired_differences([0.7, 0.8], [0.6, 0.7]))) == 1


def test_summaries_are_of_the_defined_patients():
    found = summarise(np.array([[1.0, NAN, NAN, 5], [2, NAN, 3, 5], [6, NAN, NAN, 5]]))
    np.testing.assert_array_equal(found.patients, [3, 0, 1, 3])
    np.testing.assert_array_equal(found.undefined, [0, 3, 2, 0])
    np.testing.assert_array_equal(found.mean, [3, NAN, 3, 5])
    np.testing.assert_allclose(found.sd, [7**0.5, NAN, NAN, 0])  # (4 + 1 + 9) / 2


def test_the_minimum_detectable_difference_is_found_with_80_percent_power():
    difference = minimum_detectable(6.0, 20)
    assert difference == pytest.approx((2.0930 + 0.8610) * 6 / 20**0.5, abs=1e-3)  # t tables, 19 degrees of freedom
    power = TTestPower().power(effect_size=float(difference) / 6, nobs=20, alpha=0.05)
    assert power == pytest.approx(0.8, abs=0.01)


def test_one_patient_detects_nothing():
    np.testing.assert_array_equal(np.isnan(minimum_detectable([6.0, 6.0, 6.0], [0, 1, 2])), [True, True, False])


def test_comparisons_of_equally_many_patients_are_grouped_without_gaps():
    differences = np.array([[1.0, 10, NAN], [2, NAN, 20], [3, 30, 40]])
    groups = {len(columns): (list(chosen), columns.tolist()) for chosen, columns in by_patient_count(differences)}
    assert groups == {2: ([1, 2], [[10, 20], [30, 40]]), 3: ([0], [[1], [2], [3]])}
