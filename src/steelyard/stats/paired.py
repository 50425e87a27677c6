"""Differences between two losses, patient by patient: how many, how large on average, how much they vary.

Everywhere in this package an array of differences has patients along its first axis and comparisons along the others.
NaN marks a patient for whom a comparison is undefined on either side: that patient is left out of that comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DIFFERENCE_DECIMALS = 12  # 0.7 − 0.6 and 0.8 − 0.7 must be equal: subtraction leaves noise near the 16th digit
POWER_ASKED = 0.8
LEVEL = 0.05


@dataclass(frozen=True)
class Summary:
    """Per comparison: patients with a difference, patients left out, mean difference, and its SD (divisor n − 1)."""

    patients: Integers
    undefined: Integers
    mean: Floats  # NaN without any patient
    sd: Floats  # NaN below two patients


def paired_differences(values: ArrayLike, baseline: ArrayLike) -> Floats:
    """`values − baseline`, NaN where either is undefined; shapes broadcast, units stay."""
    difference = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    return np.round(difference, DIFFERENCE_DECIMALS)


def summarise(differences: Floats) -> Summary:
    """Counts, means and SDs along the patients' axis, over the defined differences."""
    defined = ~np.isnan(differences)
    patients = defined.sum(axis=0, dtype=np.int64)
    mean = np.full(patients.shape, np.nan)
    np.divide(np.where(defined, differences, 0).sum(axis=0), patients, out=mean, where=patients > 0)
    squares = np.where(defined, np.square(differences - mean), 0).sum(axis=0)
    variance = np.full(patients.shape, np.nan)
    np.divide(squares, patients - 1, out=variance, where=patients > 1)
    return Summary(patients, len(differences) - patients, mean, np.sqrt(variance))


def minimum_detectable(sd: ArrayLike, patients: ArrayLike) -> Floats:
    """The true difference that one t-test of so many patients finds with 80 % probability; NaN below two patients.

    (t_.975 + t_.8) · SD / √n, both t with n − 1 degrees of freedom; the unit is that of `sd`. A family of comparisons
    finds less: see `steelyard.stats.power`.
    """
    n = np.asarray(patients, np.float64)
    freedom = np.where(n > 1, n - 1, np.nan)
    quantiles = student_t.ppf(1 - LEVEL / 2, freedom) + student_t.ppf(POWER_ASKED, freedom)
    return np.asarray(quantiles * np.asarray(sd, np.float64) / np.sqrt(np.where(n > 1, n, np.nan)), np.float64)


def by_patient_count(differences: Floats) -> list[tuple[Integers, Floats]]:
    """The comparisons sorted by how many patients they have, without their gaps.

    Takes (patients, comparisons); gives, for each number n of defined patients, which comparisons have it and their
    differences as (n, those comparisons), the patients in the order given.
    """
    defined = ~np.isnan(differences)
    patients = defined.sum(axis=0)
    groups = []
    for n in np.unique(patients):
        chosen = np.flatnonzero(patients == n)
        kept = differences.T[chosen][defined.T[chosen]].reshape(len(chosen), n).T
        groups.append((chosen.astype(np.int64), np.ascontiguousarray(kept)))
    return groups
