"""What a study will cost is measured, and grows with what makes it cost more."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.study.estimate import estimate
from steelyard.study.plan import make_plan
from studies import tiny_spec, write_patients


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


def test_every_run_has_its_time_and_nothing_is_written(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path / "out"))
    cost = estimate(plan)
    assert set(cost.seconds) == {run.name for run in plan.runs}
    assert all(0 < seconds < 60 for seconds in cost.seconds.values())
    assert cost.memory_bytes > 50_000_000  # torch alone takes that
    assert not (tmp_path / "out").exists()


def test_disk_is_the_cache_the_weights_the_predictions_and_one_checkpoint(patients: Path, tmp_path: Path) -> None:
    plan = make_plan(tiny_spec(patients, tmp_path))
    slices, pixels = 4 * 6, 32 * 32
    parameters = (9 * 4 + 4) + (4 + 4) + (4 * 5 + 5)  # two convolutions and one normalisation
    cache = slices * pixels * (4 + 1)  # float32 image and uint8 labels
    runs = 2 * (parameters * 4 + 2 * 150_000)  # two held-out cases in each of two runs
    assert estimate(plan).disk_bytes == cache + runs + 3 * 4 * parameters


def test_time_is_that_of_a_slice_times_training_slices_times_epochs(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steelyard.study.estimate._time_network", lambda *_: (0.25, 100, 0))
    plan = make_plan(tiny_spec(patients, tmp_path, train={"epochs": 7}))
    assert set(estimate(plan).seconds.values()) == {0.25 * (2 * 6) * 7}  # two patients of six slices are trained on
