"""How likely a true difference is to be found: by one comparison alone, and inside a whole family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.stats.paired import Floats
from steelyard.stats.verdict import judge_quickly

STUDIES = 2_000  # the standard error of a power of .5 is then .011
SHARED = 0.5  # correlation of comparisons in a patient: that of two losses minus one baseline, all three alike
STUDIES_AT_ONCE = 500


@dataclass(frozen=True)
class Power:
    """Probabilities of a right `better` or `worse` for a true difference: declared alone, and within the family."""

    alone: float
    in_family: float


def power(
    *, patients: int, sd: float, true_difference: float, family_size: int, seed: int, studies: int = STUDIES
) -> Power:
    """Power by simulated studies with normal differences, each judged as a real one is.

    `sd` is that of one comparison's differences between patients, in the unit of `true_difference`. Within the family
    one comparison differs and all others are truly equal, which is when Holm's correction leaves least; comparisons
    correlate by .5 in a patient, as those with a common baseline do. An `sd` of 0 finds every difference that the
    number of patients allows.
    """
    return Power(
        _found(patients, sd, true_difference, 1, seed, studies),
        _found(patients, sd, true_difference, family_size, seed, studies),
    )


def simulated_differences(patients: int, studies: int, family_size: int, generator: np.random.Generator) -> Floats:
    """(patients, studies, family) normal differences of mean 0 and SD 1, correlated by .5 within a patient."""
    of_patient = generator.standard_normal((patients, studies, 1))
    own = generator.standard_normal((patients, studies, family_size))
    return np.sqrt(SHARED) * of_patient + np.sqrt(1 - SHARED) * own


def _found(patients: int, sd: float, true_difference: float, family_size: int, seed: int, studies: int) -> float:
    """The share of studies that give the first comparison the right verdict."""
    generator = np.random.default_rng([seed, patients, family_size])
    right = "better" if true_difference > 0 else "worse"
    found = 0
    for start in range(0, studies, STUDIES_AT_ONCE):
        count = min(STUDIES_AT_ONCE, studies - start)
        differences = sd * simulated_differences(patients, count, family_size, generator)
        differences[:, :, 0] += true_difference
        found += int((judge_quickly(differences, seed=seed + start)[:, 0] == right).sum())
    return found / studies
