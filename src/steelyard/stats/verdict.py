"""Better, worse, undecided, or too few patients to say: what a declared family of comparisons allows one to claim.

A comparison is `better` or `worse` when two conditions hold:
1. its p after Holm is below .05, p being the larger of Wilcoxon's and the resampled mean's: both tests must agree;
2. its 95 % interval lies on that side of 0.

The claim: among comparisons whose true mean difference is 0, the chance of even one `better` or `worse` is at most 5 %
in the whole family. Wilcoxon's test alone keeps that for symmetric differences only. Where one loss fails badly on a
few patients and is a little better on the rest, the mean difference may be 0 while most differences have one sign,
and Wilcoxon's test finds them: up to 30 % false claims in a family of 24. The second p guards against that, and costs
power.
The numbers, and how much skewness is covered: docs/decisions/0010-verdicts-need-two-tests.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.stats.holm import holm
from steelyard.stats.paired import LEVEL, Floats, Integers
from steelyard.stats.signed_rank import signed_rank_p, smallest_p
from steelyard.stats.studentised import RESAMPLES, mean_p, studentised_interval

Words = NDArray[np.str_]


def family_p(signed_rank: Floats, mean: Floats, *, family_size: int | None = None) -> Floats:
    """Holm's p over the last axis, of the larger of the two tests' p; NaN where either is undefined."""
    return holm(np.maximum(signed_rank, mean), family_size=family_size)


def verdicts(
    p_holm: Floats,
    interval: tuple[Floats, Floats],
    patients: Integers,
    *,
    family_size: int | None = None,
    higher_is_better: bool = True,
) -> Words:
    """`better`, `worse`, `undecided` or `too few`, one word per comparison; the family lies along the last axis.

    `too few`: no result of these patients could have been below .05 after Holm. That is so where Holm's correction of
    the family's smallest possible p values, 2 / 2ⁿ each, is not below .05: nine patients are too few for a family
    of 24, since 24 · 2 / 2⁹ = .094, and ten are enough (.047). A comparison with fewer patients than the others
    comes after them in Holm's order, and is judged so.
    """
    low, high = interval
    found = p_holm < LEVEL
    positive, negative = ("better", "worse") if higher_is_better else ("worse", "better")
    best_possible = holm(smallest_p(patients), family_size=family_size)
    return np.select(
        [~(best_possible < LEVEL), found & (low > 0), found & (high < 0)],
        ["too few", positive, negative],
        "undecided",
    )


def resamples_for(family_size: int) -> int:
    """Enough resamples that Holm's first step leaves the smallest possible p of the mean at .005, and 9999 at least."""
    return max(RESAMPLES, 400 * family_size - 1)


def judge_quickly(differences: Floats, *, seed: int, resamples: int = RESAMPLES) -> Words:
    """The verdicts on (patients, ..., family), without what cannot change them: for simulations of many studies.

    A comparison that one test already leaves at p ≥ .05 cannot be found, nor can it raise another's p after Holm
    above .05, so the second p is computed for the rest alone, and the interval for those found.
    """
    p = signed_rank_p(differences)
    mean = np.where(np.isnan(p), np.nan, 0.0)
    open_still = p < LEVEL
    mean[open_still] = mean_p(differences[:, open_still], seed=seed, resamples=resamples)
    p_holm = family_p(p, mean)
    low, high = np.full((2, *p.shape), np.nan)
    found = p_holm < LEVEL
    low[found], high[found] = studentised_interval(differences[:, found], seed=seed, resamples=resamples)
    patients = (~np.isnan(differences)).sum(axis=0, dtype=np.int64)
    return verdicts(p_holm, (low, high), patients)
