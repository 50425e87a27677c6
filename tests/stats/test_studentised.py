"""The studentised bootstrap against its definition, resample by resample, and against what any interval must obey."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steelyard.stats.studentised import _tails, draw_patients, mean_p, studentised_interval

DIFFERENCES = np.array([3.1, -0.4, 2.2, 5.0, 1.7, -1.1, 9.3, 0.6, 2.9, 1.4, 4.8])


def by_definition(differences, size, seed, resamples):
    """t values of the resamples, each patient written down as often as drawn."""
    draws = draw_patients(len(differences), size=size, resamples=resamples, seed=seed).astype(int)
    samples = [np.repeat(differences, times) for times in draws.T]
    return np.array([(s.mean() - differences.mean()) / (s.std(ddof=1) / len(s) ** 0.5) for s in samples])


def test_the_interval_is_that_of_the_definition():
    t = np.sort(by_definition(DIFFERENCES, 11, 5, 999))
    error = DIFFERENCES.std(ddof=1) / 11**0.5
    low, high = studentised_interval(DIFFERENCES[:, None], seed=5, resamples=999)
    assert low[0] == pytest.approx(DIFFERENCES.mean() - t[974] * error)  # the 25th from above of 999
    assert high[0] == pytest.approx(DIFFERENCES.mean() - t[24] * error)


def test_the_p_of_the_mean_is_that_of_the_definition_with_seven_of_eleven_patients():
    for differences in (DIFFERENCES, -DIFFERENCES, DIFFERENCES - 1.5):
        t = by_definition(differences, 7, 5, 999)
        seen = differences.mean() / (differences.std(ddof=1) / 11**0.5)
        as_far = (t >= seen).sum() if seen > 0 else (t <= seen).sum()
        assert mean_p(differences[:, None], seed=5, resamples=999)[0] == pytest.approx(2 * (1 + as_far) / 1000)


def test_each_resample_has_its_size_and_draws_every_patient_alike():
    draws = draw_patients(5, size=3, resamples=9_999, seed=1)
    assert set(draws.sum(axis=0)) == {3}
    np.testing.assert_allclose(draws.mean(axis=1), 3 / 5, atol=0.03)
    variance_of_a_count = 3 * (1 / 5) * (4 / 5)  # binomial
    np.testing.assert_allclose(draws.var(axis=1), variance_of_a_count, atol=0.03)


def test_a_patient_drawn_three_hundred_times_is_counted_so_often():
    assert (draw_patients(1, size=300, resamples=3, seed=1) == 300).all()


@pytest.mark.parametrize("beyond", [1, 25, 250])
def test_the_ends_are_those_of_all_sorted_whatever_every_sixteenth_value_says(beyond):
    random = np.random.default_rng(4).normal(size=9_999)
    low_sixteenths, ties = random.copy(), random.round(1)
    low_sixteenths[::16] = -5 - random[::16] ** 2  # as if nearly all lay further out than most do
    unbounded = np.where(random > 2.5, np.inf, np.where(random < -2.2, -np.inf, random))
    rows = np.stack([random, low_sixteenths, -low_sixteenths, ties, unbounded])
    smallest, largest = _tails(rows, beyond)
    in_order = np.sort(rows, axis=1)
    np.testing.assert_array_equal(smallest, in_order[:, beyond - 1])
    np.testing.assert_array_equal(largest, in_order[:, -beyond])


def test_many_normal_patients_give_the_t_interval_and_the_t_test():
    x = np.random.default_rng(2).normal(0.2, 1, (400, 1))
    low, high = studentised_interval(x, seed=1)
    expected = stats.t.interval(0.95, 399, x.mean(), x.std(ddof=1) / 20)
    np.testing.assert_allclose((low[0], high[0]), expected, atol=0.01)
    assert mean_p(x - x.mean() + 0.09, seed=1)[0] == pytest.approx(
        stats.ttest_1samp(x - x.mean() + 0.09, 0).pvalue[0], abs=0.015
    )


def test_units_and_signs_carry_through():
    low, high = studentised_interval(DIFFERENCES[:, None], seed=3)
    turned_low, turned_high = studentised_interval(7 - 2 * DIFFERENCES[:, None], seed=3)
    np.testing.assert_allclose((turned_low, turned_high), (7 - 2 * high, 7 - 2 * low))
    assert mean_p(-2 * DIFFERENCES[:, None], seed=3) == mean_p(DIFFERENCES[:, None], seed=3)


def test_a_long_tail_lengthens_the_interval_on_its_side():
    low, high = studentised_interval(np.array([[0.0], [1], [1], [2], [2], [3], [3], [4], [20]]), seed=1)
    assert high[0] - 4 > 1.5 * (4 - low[0])


def test_an_undefined_patient_is_as_if_absent_and_the_other_comparisons_do_not_matter():
    gap = np.insert(DIFFERENCES, 4, np.nan)
    other = np.arange(12.0) ** 2
    low, high = studentised_interval(np.stack([other, gap], axis=1), seed=4)
    alone = studentised_interval(DIFFERENCES[:, None], seed=4)
    np.testing.assert_allclose((low[1], high[1]), np.ravel(alone))
    p = mean_p(np.stack([other, gap], axis=1), seed=4)
    np.testing.assert_allclose(p[1], mean_p(DIFFERENCES[:, None], seed=4)[0])


def test_equal_differences_leave_the_mean_alone():
    equal = np.full((14, 2), 0.1) * [1, 0]
    low, high = studentised_interval(equal, seed=1)
    np.testing.assert_array_equal(low, [0.1, 0])
    np.testing.assert_array_equal(high, [0.1, 0])
    np.testing.assert_allclose(mean_p(equal, seed=1), [2 / 10_000, 1])


def test_two_patients_bound_nothing_and_one_is_undefined():
    low, high = studentised_interval(np.array([[1.0, 1], [2, np.nan]]), seed=1)
    assert (low[0], high[0]) == (-np.inf, np.inf)  # half of the resamples draw one patient twice
    assert np.isnan([low[1], high[1]]).all()
    assert np.isnan(mean_p(np.array([[1.0, 1], [2, np.nan]]), seed=1)[1])


def test_one_differing_patient_among_equal_ones_leaves_his_side_open():
    low, high = studentised_interval(np.array([[0.0]] * 11 + [[6.0]]), seed=1)  # in 35 % of resamples he is not drawn
    assert low[0] > -6
    assert high[0] == np.inf


def test_shapes_after_the_patients_are_kept():
    x = np.random.default_rng(6).normal(size=(9, 3, 4))
    low, high = studentised_interval(x, seed=1, resamples=199)
    assert low.shape == high.shape == mean_p(x, seed=1, resamples=199).shape == (3, 4)
    np.testing.assert_allclose(low[2, 1], studentised_interval(x[:, 2, 1, None], seed=1, resamples=199)[0][0])


@pytest.mark.parametrize("patients", [4, 9, 33])
def test_many_comparisons_at_once_are_those_of_the_definition_one_by_one(patients):
    """Also where differences are tiny, huge or nearly all equal; more comparisons than are taken at once."""
    random = np.random.default_rng(patients)
    x = random.gamma(0.5, 1, (patients, 7, 5)) - random.uniform(0, 1, (7, 5))
    x[:, 1] *= 1e-120
    x[:, 2] *= 1e120
    x[:, 3] += 1e4
    low, high = studentised_interval(x, seed=8, resamples=1999)
    draws = draw_patients(patients, size=patients, resamples=1999, seed=8).astype(int)
    who = np.stack([np.repeat(np.arange(patients), times) for times in draws.T])
    for place in np.ndindex(7, 5):
        one = x[(slice(None), *place)]
        samples = one[who]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (samples.mean(axis=1) - one.mean()) / (samples.std(axis=1, ddof=1) / patients**0.5)
        if np.isfinite(t).all():
            t.sort()
            ends = one.mean() - t[[1949, 49]] * one.std(ddof=1) / patients**0.5
            np.testing.assert_allclose((low[place], high[place]), ends, rtol=1e-6)
        assert low[place] <= one.mean() <= high[place]
    assert patients < 9 or np.isfinite(low).all()


@pytest.mark.parametrize("patients", [(0.0, 1.0, 2.0), (0.1, 0.2, 0.3)], ids=["exactly", "with rounding"])
def test_one_resample_in_27_of_the_middle_patient_alone_counts_as_zero_and_hides_no_end(patients):
    """Of three patients each is drawn three times in 1/27 of the resamples, more than the 2.5 % beyond an end."""
    low, high = studentised_interval(np.array(patients), seed=1)
    assert (float(low), float(high)) == (-np.inf, np.inf)
