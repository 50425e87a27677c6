"""Who may be looked at when: outer, inner and set-aside patients never meet."""

from __future__ import annotations

import pytest

from steelyard.calibrate.nested import nest
from steelyard.datasets import CaseKey
from steelyard.errors import BadSpec

KEYS = [CaseKey(f"p{number:02}", sequence) for number in range(12) for sequence in ("t1_in", "t2_spir")]


def patients(keys: tuple[CaseKey, ...]) -> set[str]:
    return {key.patient_id for key in keys}


def test_inner_folds_divide_the_training_patients_of_their_outer_fold_alone() -> None:
    nested = nest(KEYS, outer=3, inner=2, use=None, seed=5, bound_patients=0)
    for fold in nested.folds:
        assert not patients(fold.outer.train) & patients(fold.outer.test)
        for inner in fold.inner:
            assert not patients(inner.train) & patients(inner.test)
            assert patients(inner.train) | patients(inner.test) == patients(fold.outer.train)
        tested = [key for inner in fold.inner for key in inner.test]
        assert sorted(tested) == sorted(fold.outer.train)


def test_every_patient_is_judged_once_and_no_two_inner_folds_share_a_number() -> None:
    nested = nest(KEYS, outer=3, inner=2, use=None, seed=5, bound_patients=0)
    judged = [key for fold in nested.folds for key in fold.outer.test]
    assert sorted(judged) == sorted(KEYS)
    assert [inner.index for fold in nested.folds for inner in fold.inner] == [0, 1, 2, 3, 4, 5]


def test_patients_set_aside_for_a_bound_are_in_no_fold() -> None:
    nested = nest(KEYS, outer=3, inner=2, use=None, seed=5, bound_patients=4)
    assert len(patients(nested.bound)) == 4
    assert not patients(nested.bound) & patients(nested.others)
    for fold in nested.folds:
        assert not patients(nested.bound) & (patients(fold.outer.train) | patients(fold.outer.test))


def test_used_folds_are_the_same_as_among_all() -> None:
    every = nest(KEYS, outer=3, inner=2, use=None, seed=5, bound_patients=0)
    one = nest(KEYS, outer=3, inner=2, use=[1], seed=5, bound_patients=0)
    assert one.folds == (every.folds[1],)


def test_too_few_patients_are_refused_with_both_numbers() -> None:
    with pytest.raises(BadSpec, match=r"4 outer and 4 inner folds were wanted from 5 patients, 3 of which"):
        nest(KEYS[:10], outer=4, inner=4, use=None, seed=1, bound_patients=0)
