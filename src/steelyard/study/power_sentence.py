"""What a study of this size can find at all, in one sentence: alone, and within its family of comparisons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steelyard.stats.power import power
from steelyard.study.declared import Declared

TRUE_DIFFERENCE = 5.0  # points of a share, or the metric's own unit: the least that a choice of a loss may hang on


@dataclass(frozen=True)
class GroupPower:
    """Of one network and task; shares of 1 are given in points. Null where fewer than two patients give no SD."""

    network: str
    task: str
    patients: int
    family_size: int
    unit: str
    median_sd: float | None
    alone: float | None
    in_family: float | None
    sentence: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def group_power(declared: Declared, group: dict[str, str], family: list[dict[str, Any]], *, seed: int) -> GroupPower:
    """The power at the medians of patients and SD over the family's rows of `comparisons.parquet`."""
    factor, unit = (100, "points") if declared.metric.unit == "1" else (1, declared.metric.unit)
    spreads = [factor * row["sd"] for row in family if row["sd"] is not None]
    patients = int(np.median([row["patients"] for row in family])) if family else 0
    size = declared.family_size
    where = f"On {group['network']}, {group['task']}: " if len(declared.groups) > 1 else ""
    if not spreads or patients < 2:
        sentence = f"{where}too few patients to say what could be found."
        return GroupPower(**group, patients=patients, family_size=size, unit=unit, median_sd=None, alone=None,
                          in_family=None, sentence=sentence)  # fmt: skip
    sd = float(np.median(spreads))
    found = power(patients=patients, sd=sd, true_difference=TRUE_DIFFERENCE, family_size=size, seed=seed)
    opening = f"{where}with" if where else "With"
    return GroupPower(
        **group,
        patients=patients,
        family_size=size,
        unit=unit,
        median_sd=sd,
        alone=found.alone,
        in_family=found.in_family,
        sentence=f"{opening} {patients} patients and the median SD of the paired differences seen here, {sd:.1f} "
        f"{unit}, a true difference of {TRUE_DIFFERENCE:g} {unit} would be found with probability {found.alone:.2f} "
        f"alone and {found.in_family:.2f} within this family of {size}.",
    )
