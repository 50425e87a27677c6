"""How many patients a bound sets aside, and what is advised where they are too few."""

from __future__ import annotations

import pytest

from steelyard.calibrate.bench import _bound_patients
from steelyard.errors import BadSpec
from steelyard.labels import CHAOS_MR
from steelyard.study.spec import CalibrateTable


@pytest.mark.parametrize(
    ("max_miss", "patients", "aside"),
    [
        (0.10, 40, 13),  # 1 / (9 + 1) = .1: nine at least, and a tenth of forty
        (0.25, 14, 4),  # three, and one
        (0.15, 14, 7),  # 1 / (6 + 1) = .143: six, and one
    ],
)
def test_the_fewest_that_certify_and_a_tenth_are_set_aside(max_miss: float, patients: int, aside: int) -> None:
    assert _bound_patients(CalibrateTable(max_miss={"liver": max_miss}), patients, CHAOS_MR) == aside


@pytest.mark.parametrize("patients", [6, 9, 14, 20, 33])
def test_what_is_advised_is_enough(patients: int) -> None:
    with pytest.raises(BadSpec) as refused:
        _bound_patients(CalibrateTable(max_miss={"liver": 0.01}), patients, CHAOS_MR)
    advised = float(str(refused.value).split("Ask for ")[1].split()[0])
    assert _bound_patients(CalibrateTable(max_miss={"liver": advised}), patients, CHAOS_MR) <= patients // 2
    with pytest.raises(BadSpec):
        _bound_patients(CalibrateTable(max_miss={"liver": advised - 0.01}), patients, CHAOS_MR)
