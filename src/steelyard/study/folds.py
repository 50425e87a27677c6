"""Who is trained on and who is kept unseen: patients are split, never their slices or sequences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steelyard.datasets import CaseKey
from steelyard.errors import BadSpec

LEAK_WARNING = (
    "folds are split by sequence: the same patient's anatomy is in training and test, so the scores are too good. "
    'Use by = "patient" for anything but measuring that leak.'
)


@dataclass(frozen=True)
class Fold:
    """One split: the cases to train on and the cases held out."""

    index: int
    train: tuple[CaseKey, ...]
    test: tuple[CaseKey, ...]


def make_folds(
    keys: Sequence[CaseKey], *, count: int, by: Literal["patient", "sequence"], seed: int
) -> tuple[Fold, ...]:
    """Deal the patients, shuffled by `seed`, into `count` folds whose sizes differ by at most one.

    With `by="sequence"` each case is dealt on its own, as in the study, which leaks anatomy between the parts.

    Raises:
        BadSpec: there are fewer patients (or cases) than folds.
    """
    units = sorted({_unit(key, by) for key in keys})
    if len(units) < count:
        noun = "patients" if by == "patient" else "cases"
        raise BadSpec(f"{count} folds were wanted from {len(units)} {noun}. Lower [folds] count or add data.")
    random.Random(seed).shuffle(units)
    dealt = {unit: position % count for position, unit in enumerate(units)}
    return tuple(
        Fold(
            index,
            train=tuple(key for key in sorted(keys) if dealt[_unit(key, by)] != index),
            test=tuple(key for key in sorted(keys) if dealt[_unit(key, by)] == index),
        )
        for index in range(count)
    )


def _unit(key: CaseKey, by: str) -> tuple[str, ...]:
    return (key.patient_id,) if by == "patient" else (key.patient_id, key.sequence)
