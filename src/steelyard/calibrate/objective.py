"""What a calibration should achieve: five ways to say which of two sets of predictions is better.

An objective gives a merit, (−shortfall, value): first how far a demand is missed (0 when it is met), then a value to
raise. Merits compare as tuples do. Everywhere a patient's cases are averaged first, then organs, then patients, so that
each patient counts once; the background is left out, and what is undefined is left out of every mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from steelyard.calibrate.tally import Tally, defined_mean
from steelyard.confusion import Confusion, dice, iou, sensitivity
from steelyard.errors import BadSpec

Organs = tuple[int, ...] | None  # class indices; None for every organ
NO_ORGAN = (0.0, 0.0)  # the merit of organs on which an objective has no opinion

INDICES: dict[str, Callable[[Confusion], np.ndarray]] = {"iou": iou, "dice": dice}
INDEX_TITLES = {"iou": "IoU", "dice": "Dice"}


class Objective(Protocol):
    """One way to rank predictions. `organs` restricts it to some organs: to choose weights organ by organ."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger `of_patients` is the better one; merits always rise."""
        ...

    @property
    def unit(self) -> str:
        """Unit of `of_patients`: `ml`, or empty for a plain number."""
        ...

    @property
    def title(self) -> str:
        """What it is called in tables and charts."""
        ...

    def organs_moved(self, class_count: int) -> tuple[int, ...]:
        """The organs whose decision may be moved for this objective's sake."""
        ...

    def merit(self, tally: Tally, organs: Organs = None) -> tuple[float, float]:
        """(−shortfall, value); larger is better."""
        ...

    def demand_of_patients(self, tally: Tally) -> np.ndarray | None:
        """How well each patient (patient,) meets the demand, larger is better; None where nothing is demanded."""
        ...

    def of_patients(self, tally: Tally, organs: Organs = None) -> np.ndarray:
        """The value of each patient (patient,) in its own unit and sign, in the order of `tally.patients`."""
        ...


@dataclass(frozen=True)
class MeanIndex:
    """The mean IoU (or Dice) of the organs. The default: nothing else is demanded."""

    index: Literal["iou", "dice"] = "iou"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.index not in INDICES:
            raise BadSpec(f"the index of an objective is iou or dice; came {self.index!r}.")

    @property
    def title(self) -> str:
        """`mean IoU` or `mean Dice`."""
        return f"mean {INDEX_TITLES[self.index]}"

    def organs_moved(self, class_count: int) -> tuple[int, ...]:
        """All."""
        return _all_organs(class_count)

    def demand_of_patients(self, tally: Tally) -> None:
        """Nothing is demanded."""

    def merit(self, tally: Tally, organs: Organs = None) -> tuple[float, float]:
        """(0, mean over patients); −∞ where no patient has a defined index."""
        return 0.0, _value(_mean(self.of_patients(tally, organs)))

    def of_patients(self, tally: Tally, organs: Organs = None) -> np.ndarray:
        """Mean over organs of the mean over the patient's cases; NaN without a defined one."""
        return defined_mean(_of(tally.patient_means(INDICES[self.index](tally.counts)), organs), axis=1)


@dataclass(frozen=True)
class LeastSpill:
    """Recall of one organ of at least so much, averaged over the patients who have it; then the least of it spilled.

    Says nothing about other organs: their merit is the same whatever happens to them.
    """

    organ_index: int
    recall_at_least: float
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "ml"

    def __post_init__(self) -> None:
        if not 0 < self.recall_at_least <= 1:
            raise BadSpec(f"the recall to hold must be above 0 and at most 1; came {self.recall_at_least}.")
        if self.organ_index < 1:
            raise BadSpec(f"recall is held of an organ, class 1 or more; came class {self.organ_index}.")

    @property
    def title(self) -> str:
        """With the demand, as a table's header shows it."""
        return f"least spilled at recall ≥ {self.recall_at_least:g}"

    def organs_moved(self, class_count: int) -> tuple[int, ...]:
        """That organ alone: moving others would hide its spills under them."""
        return (self.organ_index,)

    def recall(self, tally: Tally) -> float:
        """Mean over the patients who have the organ.

        Raises:
            BadSpec: none has.
        """
        of_patients = tally.patient_means(sensitivity(tally.counts)[:, self.organ_index])
        recall = _mean(of_patients)
        if np.isnan(recall):
            raise BadSpec(
                f"no patient has the organ of class {self.organ_index}: its recall cannot be held. Choose another."
            )
        return recall

    def demand_of_patients(self, tally: Tally) -> np.ndarray:
        """Each patient's recall of the organ; NaN without it."""
        return tally.patient_means(sensitivity(tally.counts)[:, self.organ_index])

    def merit(self, tally: Tally, organs: Organs = None) -> tuple[float, float]:
        """(−what recall lacks, −mean spilled ml of the organ)."""
        if organs is not None and self.organ_index not in organs:
            return NO_ORGAN
        return -_shortfall(self.recall_at_least - self.recall(tally)), -_mean(self.of_patients(tally))

    def of_patients(self, tally: Tally, organs: Organs = None) -> np.ndarray:
        """Spilled ml of the organ, whatever `organs`."""
        return tally.patient_means(tally.spilled_ml[:, self.organ_index])


@dataclass(frozen=True)
class Cost:
    """A price per ml missed and per ml spilled, summed over organs. An organ taken for another costs both."""

    fn_per_ml: float
    fp_per_ml: float
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "cost"

    def __post_init__(self) -> None:
        prices = (self.fn_per_ml, self.fp_per_ml)
        if not (np.isfinite(prices).all() and min(prices) >= 0 and max(prices) > 0):
            raise BadSpec(
                f"prices per ml must be 0 or more and not both 0; came {self.fn_per_ml} and {self.fp_per_ml}."
            )

    @property
    def title(self) -> str:
        """With both prices."""
        return f"cost at {self.fn_per_ml:g} per ml missed, {self.fp_per_ml:g} per ml spilled"

    def organs_moved(self, class_count: int) -> tuple[int, ...]:
        """All."""
        return _all_organs(class_count)

    def demand_of_patients(self, tally: Tally) -> None:
        """Nothing is demanded."""

    def merit(self, tally: Tally, organs: Organs = None) -> tuple[float, float]:
        """(0, −mean cost of a patient)."""
        return 0.0, -_mean(self.of_patients(tally, organs))

    def of_patients(self, tally: Tally, organs: Organs = None) -> np.ndarray:
        """Mean over the patient's cases of the cost summed over organs."""
        costs = self.fn_per_ml * tally.missed_ml + self.fp_per_ml * tally.spilled_ml
        return tally.patient_means(_of(costs, organs).sum(1))


@dataclass(frozen=True)
class VolumeBias:
    """Each organ's volume right on average within so many ml; then the best mean IoU.

    Bias: the mean over patients of (predicted − reference) ml. Errors of patients may cancel: it is a demand on totals,
    as in a study of volumes, not on single patients.
    """

    within_ml: float
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.within_ml) and self.within_ml >= 0):
            raise BadSpec(f"the volume bias allowed must be 0 ml or more; came {self.within_ml}.")

    @property
    def title(self) -> str:
        """With the demand."""
        return f"mean IoU at volume bias within {self.within_ml:g} ml"

    def organs_moved(self, class_count: int) -> tuple[int, ...]:
        """All."""
        return _all_organs(class_count)

    def bias_ml(self, tally: Tally) -> np.ndarray:
        """Mean over patients of (predicted − reference) ml, per class."""
        return np.asarray(tally.patient_means(tally.spilled_ml - tally.missed_ml).mean(0))

    def demand_of_patients(self, tally: Tally) -> np.ndarray:
        """Minus the largest volume error of any organ of each patient, in ml."""
        errors = np.abs(tally.patient_means(tally.spilled_ml - tally.missed_ml))[:, 1:]
        return np.asarray(-errors.max(axis=1))

    def merit(self, tally: Tally, organs: Organs = None) -> tuple[float, float]:
        """(−the largest excess of any organ, mean IoU)."""
        excess = np.abs(_of(self.bias_ml(tally)[None], organs)) - self.within_ml
        return -_shortfall(float(excess.max())), MeanIndex().merit(tally, organs)[1]

    def of_patients(self, tally: Tally, organs: Organs = None) -> np.ndarray:
        """Mean IoU of each patient."""
        return MeanIndex().of_patients(tally, organs)


def _all_organs(class_count: int) -> tuple[int, ...]:
    return tuple(range(1, class_count))


def _of(values: np.ndarray, organs: Organs) -> np.ndarray:
    """The organs' columns of (…, class)."""
    return values[:, 1:] if organs is None else values[:, list(organs)]


def _mean(of_patients: np.ndarray) -> float:
    return float(defined_mean(of_patients, axis=0))


def _value(mean: float) -> float:
    return -np.inf if np.isnan(mean) else mean


def _shortfall(lacking: float) -> float:
    """What is lacking, 0 when nothing is; +0, never −0. A lack that only rounding made is none."""
    return lacking if lacking > ROUNDING else 0.0


ROUNDING = 1e-9  # recalls and millilitres are sums of divisions: 0.9 − mean(0.9, 0.9, 0.9) need not be 0
