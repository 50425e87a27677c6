"""Who may be looked at when: outer folds that judge, inner folds that choose, and patients set aside for a bound."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.datasets import CaseKey
from steelyard.errors import BadSpec
from steelyard.study.folds import Fold, make_folds


@dataclass(frozen=True)
class OuterFold:
    """One outer split and the inner splits of its training patients, numbered through all outer folds."""

    outer: Fold
    inner: tuple[Fold, ...]


@dataclass(frozen=True)
class Nested:
    """All splits of a calibration. `bound` are cases of patients that neither train, nor choose, nor judge."""

    folds: tuple[OuterFold, ...]
    bound: tuple[CaseKey, ...]
    others: tuple[CaseKey, ...]


def nest(
    keys: Sequence[CaseKey], *, outer: int, inner: int, use: Sequence[int] | None, seed: int, bound_patients: int
) -> Nested:
    """Set `bound_patients` aside, deal the others into outer folds, and the training patients of each into inner ones.

    `use` names the outer folds that are carried out, all when None. All depends on the patients and `seed` alone.

    Raises:
        BadSpec: too few patients for so many folds.
    """
    patients = sorted({key.patient_id for key in keys})
    aside = set(random.Random(f"bound {seed}").sample(patients, min(bound_patients, len(patients))))
    others = tuple(key for key in sorted(keys) if key.patient_id not in aside)
    left = len(patients) - len(aside)
    smallest_training = left - math.ceil(left / outer)
    if left < outer or smallest_training < inner:
        raise BadSpec(
            f"{outer} outer and {inner} inner folds were wanted from {left} patients, {smallest_training} of which "
            "are in the smallest outer training set. Lower [folds] count or [calibrate] inner_folds, or add patients."
        )
    dealt = make_folds(others, count=outer, by="patient", seed=seed)
    return Nested(
        folds=tuple(
            OuterFold(fold, _inner_folds(fold, inner, seed)) for fold in dealt if use is None or fold.index in use
        ),
        bound=tuple(key for key in sorted(keys) if key.patient_id in aside),
        others=others,
    )


def _inner_folds(outer: Fold, count: int, seed: int) -> tuple[Fold, ...]:
    return tuple(
        Fold(outer.index * count + fold.index, fold.train, fold.test)
        for fold in make_folds(outer.train, count=count, by="patient", seed=seed)
    )
