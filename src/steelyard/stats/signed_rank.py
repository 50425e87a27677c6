"""Wilcoxon's signed-rank test: do the losses differ, judged by the ranks of the patients' differences?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, wilcoxon

from steelyard.stats.paired import Floats, by_patient_count


def signed_rank_p(differences: Floats) -> Floats:
    """Two-sided p of each comparison; 1 where all differences are 0, NaN without any patient.

    `differences`: (patients, ...), NaN where undefined. The null hypothesis is that a patient's difference is as
    likely to be +d as −d, which is so when two losses do the same. It is not a test of the mean: differences that are
    skewed around a mean of 0 are rejected, too (see `steelyard.stats.verdict`).

    Without ties scipy's test is used: exact to 50 patients, the normal approximation above. Zeros (a patient with the
    same score twice, or an organ that both miss) are ranked with the others and then dropped, after Pratt; with zeros
    or ties the p is exact at any number of patients: the share of all sign patterns with a rank sum as far out.

    Source: Wilcoxon, Biometrics Bulletin 1 (1945) 80–83; Pratt, JASA 54 (1959) 655–667.
    """
    p = np.full(differences.shape[1:], np.nan)
    for chosen, columns in by_patient_count(differences.reshape(len(differences), -1)):
        if not len(columns):
            continue
        ordered = np.sort(np.abs(columns), axis=0)
        clean = (ordered[0] > 0) & (np.diff(ordered, axis=0) > 0).all(axis=0)
        if clean.any():
            p.ravel()[chosen[clean]] = wilcoxon(columns[:, clean], axis=0).pvalue
        for index in np.flatnonzero(~clean):
            p.ravel()[chosen[index]] = _p_with_ties(columns[:, index])
    return p


def smallest_p(patients: ArrayLike) -> Floats:
    """The least two-sided p that so many patients can give: 2 of the 2ⁿ sign patterns. 1 for one, NaN for none."""
    n = np.asarray(patients, np.float64)
    return np.exp2(1 - np.where(n > 0, n, np.nan))


def _p_with_ties(differences: Floats) -> float:
    """Exact, given the sizes: walks through the ranks, counting the sign patterns that reach each rank sum."""
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)[differences != 0]  # whole: ties average to ½
    share = np.zeros(doubled.sum() + 1)
    share[0] = 1
    for rank in doubled:
        share[rank:] = (share[rank:] + share[:-rank]) / 2
        share[:rank] /= 2
    positive = doubled[differences[differences != 0] > 0].sum()
    smaller = min(positive, doubled.sum() - positive)
    return float(min(2 * share[: smaller + 1].sum(), 1))
