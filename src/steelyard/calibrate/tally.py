"""What a decision missed and spilled: voxel counts per case and class, and how patients are averaged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from steelyard.confusion import Confusion


@dataclass(frozen=True, eq=False)
class Tally:
    """Voxel counts of predicted cases. A patient may have several cases (sequences, seeds); class 0 is the background.

    Args:
        patient_ids: the patient of every case.
        counts: (case, class), int64.
        voxel_ml: volume of a voxel of every case (case,).

    `tally + other` holds the cases of both.

    Raises:
        ValueError: parts that disagree in the number of cases.
    """

    patient_ids: tuple[str, ...]
    counts: Confusion
    voxel_ml: np.ndarray

    def __post_init__(self) -> None:
        lengths = (len(self.patient_ids), len(self.counts.tp), len(self.voxel_ml))
        if len(set(lengths)) != 1:
            raise ValueError(f"patients, counts and voxel volumes are of {lengths} cases: they must agree")

    def __add__(self, other: Tally) -> Tally:
        counts = Confusion(
            *(np.concatenate([getattr(self.counts, n), getattr(other.counts, n)]) for n in ("tp", "fp", "fn", "tn"))
        )
        voxel_ml = np.concatenate([self.voxel_ml, other.voxel_ml])
        return Tally(self.patient_ids + other.patient_ids, counts, voxel_ml)

    @property
    def class_count(self) -> int:
        """Organs and the background."""
        return self.counts.tp.shape[1]

    @property
    def missed_ml(self) -> np.ndarray:
        """Volume of each class decided as another one (case, class), in ml."""
        return self.counts.fn * self.voxel_ml[:, None]

    @property
    def spilled_ml(self) -> np.ndarray:
        """Volume decided as a class that is another one (case, class), in ml."""
        return self.counts.fp * self.voxel_ml[:, None]

    @property
    def patients(self) -> tuple[str, ...]:
        """Every patient once, sorted: the order of `patient_means`."""
        return self._grouping[0]

    def patient_means(self, values: np.ndarray) -> np.ndarray:
        """Mean over each patient's cases: (case, …) → (patient, …). NaN is left out, and stays where all are."""
        patients, owner = self._grouping
        defined = ~np.isnan(values)
        shape = (len(patients), *values.shape[1:])
        totals, numbers = np.zeros(shape), np.zeros(shape)
        np.add.at(totals, owner, np.where(defined, values, 0.0))
        np.add.at(numbers, owner, defined)
        return np.divide(totals, numbers, out=np.full(shape, np.nan), where=numbers > 0)

    @cached_property
    def _grouping(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The patients, and the place of each case's own among them."""
        patients = tuple(sorted(set(self.patient_ids)))
        place = {patient: index for index, patient in enumerate(patients)}
        return patients, np.array([place[patient] for patient in self.patient_ids], np.intp)


def defined_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis over the defined values; NaN where none is."""
    defined = ~np.isnan(values)
    numbers = defined.sum(axis)
    totals = np.where(defined, values, 0.0).sum(axis)
    return np.divide(totals, numbers, out=np.full(np.shape(totals), np.nan), where=numbers > 0)
