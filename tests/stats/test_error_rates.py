"""Simulated studies in which the truth is known: how often the verdicts are wrong, and how often intervals miss.

Skewed differences have mean 0 and SD 1. Skewness 1 and 2 are those of gamma distributions of shape 4 and 1; 1.75 and
6.2 those of lognormal ones with σ = .5 and 1. All 24 comparisons of a family are skewed to the same side, which is
when false findings are most frequent.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steelyard.stats.power import power
from steelyard.stats.signed_rank import signed_rank_p
from steelyard.stats.studentised import studentised_interval
from steelyard.stats.verdict import family_p, judge_quickly

FAMILY = 24
STUDIES = 1_500
SHAPES = {
    "normal": stats.norm(),
    "skewness 1": stats.gamma(4),
    "skewness 1.75": stats.lognorm(0.5),
    "skewness 2": stats.gamma(1),
    "skewness 6.2": stats.lognorm(1.0),
}


def differences(shape: str, size: tuple[int, ...], seed: int, correlation: float = 0.0) -> np.ndarray:
    """Mean 0 and SD 1 by theory, not by sample. Correlated between the members of the last axis, within a patient."""
    generator = np.random.default_rng(seed)
    normal = np.sqrt(1 - correlation) * generator.standard_normal(size)
    normal += np.sqrt(correlation) * generator.standard_normal((*size[:-1], 1))
    grid = np.linspace(-6, 6, 6001)
    wanted = SHAPES[shape]
    return (np.interp(normal, grid, wanted.isf(stats.norm.sf(grid))) - wanted.mean()) / wanted.std()


def coverage(shape: str, patients: int) -> tuple[float, float]:
    """Shares of 8000 samples whose interval holds the true mean 0: ours, and the t interval."""
    held, held_by_t = [], []
    for seed in range(8):
        x = differences(shape, (patients, 1_000), seed)
        low, high = studentised_interval(x, seed=seed, resamples=1_999)
        held.append((low <= 0) & (high >= 0))
        held_by_t.append(stats.ttest_1samp(x, 0).pvalue >= 0.05)
    return float(np.mean(held)), float(np.mean(held_by_t))


@pytest.mark.parametrize("patients", [14, 20])
@pytest.mark.parametrize("shape", ["normal", "skewness 1", "skewness 1.75", "skewness 2"])
def test_intervals_cover_95_percent_within_2(shape, patients):
    ours, _ = coverage(shape, patients)
    print(f"{patients} patients, {shape}: {ours:.3f} of the 95 % intervals hold the true mean")
    assert 0.93 <= ours <= 0.97


@pytest.mark.parametrize("patients", [14, 20])
def test_extreme_skewness_is_covered_less_but_better_than_by_t_intervals(patients):
    ours, by_t = coverage("skewness 6.2", patients)
    print(f"{patients} patients, skewness 6.2: {ours:.3f} of the 95 % intervals hold the true mean, {by_t:.3f} of t's")
    assert by_t + 0.03 < ours < 0.95


def false_findings(found: np.ndarray) -> float:
    """The share of studies, (studies, family), with any verdict."""
    return float(found.any(axis=1).mean())


@pytest.mark.parametrize("patients", [14, 20])
@pytest.mark.parametrize(
    ("shape", "correlation"),
    [
        ("normal", 0),
        ("normal", 0.5),
        ("skewness 1", 0.5),
        ("skewness 1.75", 0.5),
        ("skewness 2", 0),
        ("skewness 2", 0.5),
    ],
)
def test_without_a_true_difference_at_most_5_percent_of_studies_find_one(shape, correlation, patients):
    null = differences(shape, (patients, STUDIES, FAMILY), 11, correlation)
    rate = false_findings(np.isin(judge_quickly(null, seed=2), ["better", "worse"]))
    print(f"{patients} patients, {shape}, correlation {correlation}: false findings in {rate:.3f} of the studies")
    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert rate > 0  # the simulation reaches as far as the verdicts do


def test_wilcoxons_test_alone_would_not_hold_5_percent_for_skewed_differences():
    null = differences("skewness 2", (20, STUDIES, FAMILY), 11, 0.5)
    p = signed_rank_p(null)
    assert false_findings(family_p(p, np.zeros_like(p)) < 0.05) > 0.10


def test_five_points_of_six_are_found_by_20_patients_alone_and_less_often_in_a_family():
    found = power(patients=20, sd=6, true_difference=5, family_size=FAMILY, seed=1)
    print(f"20 patients, SD 6, true difference 5: {found.alone:.3f} alone, {found.in_family:.3f} in a family of 24")
    by_t_test = 0.935  # noncentral t, δ = 5 / 6 · √20: the most that any test of normal means can reach
    assert 0.80 <= found.alone <= by_t_test
    assert 0.25 < found.in_family < found.alone - 0.2
