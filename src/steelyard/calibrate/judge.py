"""The verdict of a calibration: change to the chosen weights, or keep the default because the gain is within noise.

One comparison is declared before anything is trained: chosen weights against the default, on patients who neither
trained nor chose, paired by patient. It alone decides. The comparisons with the other rivals are a family of their own,
corrected by Holm, and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steelyard.stats.paired import Floats, minimum_detectable, paired_differences, summarise
from steelyard.stats.signed_rank import signed_rank_p
from steelyard.stats.studentised import mean_p, studentised_interval
from steelyard.stats.verdict import family_p, verdicts

SEED = 20_250_101  # of all resamples, so that a calibration read twice says the same

Decision = Literal["change", "keep the default"]


@dataclass(frozen=True)
class Comparison:
    """The chosen weights against one method, in the objective's unit; None where undefined.

    `difference` is chosen − other, whatever direction is better; `verdict` is about the chosen weights.
    """

    against: str
    patients: int
    mean_chosen: float | None
    mean_other: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    minimum_detectable: float | None
    verdict: str


@dataclass(frozen=True)
class Judgement:
    """`reason` is a sentence; `against_default` the declared comparison, `against_rivals` all others."""

    decision: Decision
    reason: str
    against_default: Comparison
    against_rivals: tuple[Comparison, ...]


def judge(
    chosen: Floats,
    default: Floats,
    rivals: Mapping[str, Floats],
    *,
    default_title: str,
    higher_is_better: bool,
    always_default: bool,
    breaks_demand: bool = False,
) -> Judgement:
    """Each array holds one value per outer patient, all in one order; NaN where undefined.

    Args:
        always_default: every outer fold chose the default itself.
        breaks_demand: on these patients the chosen weights miss what the objective demands, and the default does not.
    """
    declared = compare(chosen, {default_title: default}, higher_is_better=higher_is_better)[0]
    others = compare(chosen, rivals, higher_is_better=higher_is_better)
    if breaks_demand:
        reason = "the calibrated weights miss the demand on patients never seen, and the default meets it."
        return Judgement("keep the default", reason, declared, others)
    if declared.verdict == "better" and not always_default:
        reason = "the gain over the default on patients never seen is more than noise."
        return Judgement("change", reason, declared, others)
    if always_default:
        reason = "every outer fold chose the default itself."
    elif declared.verdict == "worse":
        reason = "the chosen weights did worse than the default on patients never seen."
    elif declared.verdict == "too few":
        reason = f"{declared.patients} patients are too few to tell a gain from noise."
    else:
        reason = "the gain is within noise."
    return Judgement("keep the default", reason, declared, others)


def compare(chosen: Floats, others: Mapping[str, Floats], *, higher_is_better: bool) -> tuple[Comparison, ...]:
    """The chosen weights against every other method: one family, with the tests of `steelyard.stats.verdict`."""
    if not others:
        return ()
    columns = np.stack(list(others.values()), axis=1)
    differences = paired_differences(chosen[:, None], columns)
    summary = summarise(differences)
    low, high = studentised_interval(differences, seed=SEED)
    p_holm = family_p(signed_rank_p(differences), mean_p(differences, seed=SEED))
    words = verdicts(p_holm, (low, high), summary.patients, higher_is_better=higher_is_better)
    detectable = minimum_detectable(summary.sd, summary.patients)
    both = ~np.isnan(differences)
    return tuple(
        Comparison(
            against=title,
            patients=int(summary.patients[i]),
            mean_chosen=_mean(chosen[both[:, i]]),
            mean_other=_mean(columns[both[:, i], i]),
            difference=_number(summary.mean[i]),
            low=_number(low[i]),
            high=_number(high[i]),
            p_holm=_number(p_holm[i]),
            minimum_detectable=_number(detectable[i]),
            verdict=str(words[i]),
        )
        for i, title in enumerate(others)
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
