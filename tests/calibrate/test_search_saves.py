"""A search finds what the whole grid finds, for a third of its epochs: on drawn learning curves, nobody training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phantoms import write_chaos_patient
from steelyard.calibrate import grid, search
from steelyard.calibrate.bench import Bench, make_bench
from steelyard.calibrate.budget import Budget
from steelyard.calibrate.named_objective import objective_of
from steelyard.calibrate.select import select
from steelyard.runstore import write_parquet
from steelyard.study.plan import Plan, Run
from steelyard.study.spec import Part
from studies import tiny_spec

EPOCHS = 36
VOXELS = 10_000
NAMED = {"iou1505": 0.25, "iou11": 0.5, "iou0515": 0.75}


def ratio(loss: Part) -> float:
    return NAMED.get(loss.name) or loss.options["fn_weight"] / 2


def iou_of(run: Run, patient: str, epochs: int, *, best: float) -> float:
    """A curve that rises to an end, highest at `best`, sooner where misses are dear; patients and seeds differ."""
    r = ratio(run.loss)
    random = np.random.default_rng([run.seed, run.fold.index, int(patient.removeprefix("mr-")), round(1000 * r)])
    end = 0.8 - 0.6 * (r - best) ** 2
    of_patient = 0.05 * np.sin(int(patient.removeprefix("mr-")))
    return float(np.clip(end * (1 - np.exp(-epochs / (3 + (1 - r)))) + of_patient + random.normal(0, 0.02), 0, 1))


def pretending(best: float):
    """Instead of trainings: counts drawn from the curves, in the files that a run leaves."""

    def carry_out(plan: Plan) -> None:
        for run in plan.runs:
            folder = plan.run_folder(run)
            if folder.is_done:
                continue
            if run.start is not None:
                assert (plan.folder / run.start / "state.pt").exists(), (
                    "a run was started from a state that is not kept"
                )
            epochs = plan.epochs_of(run)
            rows = [
                {
                    "case_id": key.case_id, "patient_id": key.patient_id, "class_index": index, "voxel_ml": 1.0,
                    "tp": (tp := round(VOXELS * iou_of(run, key.patient_id, epochs, best=best))), "fp": VOXELS - tp,
                    "fn": 0, "tn": 0,
                }
                for key in run.fold.test
                for index in range(plan.dataset.label_set.class_count)
            ]  # fmt: skip
            write_parquet(folder.counts, pl.DataFrame(rows))
            if run.keeps_state:
                folder.state.touch()
            folder.mark_done()

    return carry_out


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patients")
    for number in range(1, 10):
        write_chaos_patient(root / "Train_Sets" / "MR", number)
    return root


def bench_of(patients: Path, out: Path, best: float, strategy: str) -> Bench:
    spec = tiny_spec(
        patients, out, folds={"count": 3, "use": [0]}, grid={"seed": [1, 2, 3]}, train={"epochs": EPOCHS},
        calibrate={"inner_folds": 2, "strategy": strategy},
    )  # fmt: skip
    return make_bench(spec, objective_of=objective_of, carry_out=pretending(best))


@pytest.mark.parametrize("best", [0.2, 0.35, 0.8])
def test_the_choice_is_within_a_point_of_the_grids_best_for_a_third_of_its_epochs(
    patients: Path, tmp_path: Path, best: float
) -> None:
    whole = grid.try_all(bench_of(patients, tmp_path / "grid", best, "grid"))[0]
    bench = bench_of(patients, tmp_path / "search", best, "search")
    found = search.search(bench, Budget(None))[0]
    values = {prices: bench.objective.merit(tally)[1] for prices, tally in whole.tallies.items()}
    assert values[select(found.tallies, bench.objective)] >= max(values.values()) - 0.01
    assert found.epochs_spent <= 0.35 * whole.epochs_spent
    assert whole.epochs_spent == 9 * 3 * 2 * EPOCHS


def test_the_candidates_that_are_given_up_are_the_worse_ones(patients: Path, tmp_path: Path) -> None:
    bench = bench_of(patients, tmp_path, 0.8, "search")
    found = search.search(bench, Budget(None))[0]
    by_epochs = {trial.prices.ratios[0]: trial.epochs for trial in found.trials}
    assert {r for r, epochs in by_epochs.items() if epochs == 6} >= {0.1, 0.2, 0.3, 0.4, 0.5}
    assert [r for r, epochs in by_epochs.items() if epochs == EPOCHS] != []
