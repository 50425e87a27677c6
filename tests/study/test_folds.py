"""Patients are dealt into folds whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.datasets import CaseKey
from steelyard.errors import BadSpec
from steelyard.study.folds import make_folds

KEYS = [CaseKey(f"mr-{n:02d}", sequence) for n in range(1, 8) for sequence in ("t1_in", "t1_out", "t2_spir")]


@given(count=st.integers(2, 7), seed=st.integers(0, 999))
def test_no_patient_is_trained_on_and_tested(count: int, seed: int) -> None:
    for fold in make_folds(KEYS, count=count, by="patient", seed=seed):
        assert not {key.patient_id for key in fold.train} & {key.patient_id for key in fold.test}
        assert sorted(fold.train + fold.test) == sorted(KEYS)


@given(count=st.integers(2, 7), seed=st.integers(0, 999))
def test_every_patient_is_tested_once_and_folds_differ_by_one_patient_at_most(count: int, seed: int) -> None:
    tested = [{key.patient_id for key in fold.test} for fold in make_folds(KEYS, count=count, by="patient", seed=seed)]
    assert sum(map(len, tested)) == 7
    assert set().union(*tested) == {key.patient_id for key in KEYS}
    assert max(map(len, tested)) - min(map(len, tested)) <= 1


def test_splitting_by_sequence_leaks_patients_as_the_study_does() -> None:
    folds = make_folds(KEYS, count=3, by="sequence", seed=1)
    leaking = [{k.patient_id for k in fold.train} & {k.patient_id for k in fold.test} for fold in folds]
    assert all(leaking)
    assert sorted(key for fold in folds for key in fold.test) == sorted(KEYS)


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_cases() -> None:
    folds = make_folds(KEYS, count=3, by="patient", seed=5)
    assert folds == make_folds(KEYS[::-1], count=3, by="patient", seed=5)
    assert any(folds != make_folds(KEYS, count=3, by="patient", seed=seed) for seed in (6, 7, 8))


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(BadSpec, match="8 folds were wanted from 7 patients"):
        make_folds(KEYS, count=8, by="patient", seed=1)
