"""Calibrations whose trainings are drawn from learning curves and take no time, in the files that real runs leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.calibrate.bench import Bench, make_bench
from steelyard.calibrate.named_objective import objective_of
from steelyard.errors import BadData, Interrupted, RunsFailed
from steelyard.runstore import write_parquet
from steelyard.study.plan import Plan, Run
from steelyard.study.spec import Part
from studies import tiny_spec

EPOCHS = 36
VOXELS = 10_000
NAMED = {"iou1505": 0.25, "iou11": 0.5, "iou0515": 0.75}


def ratio(loss: Part) -> float:
    """r, or the mean r of the organs."""
    return NAMED.get(loss.name) or float(np.mean(np.atleast_1d(loss.options["fn_weight"])[-4:])) / 2


def iou_of(run: Run, patient: str, epochs: int, *, best: float) -> float:
    """A curve that rises to an end, highest at `best`, sooner where misses are dear; patients and seeds differ."""
    r = ratio(run.loss)
    random = np.random.default_rng([run.seed, run.fold.index, int(patient.removeprefix("mr-")), round(1000 * r)])
    end = 0.8 - 0.6 * (r - best) ** 2
    of_patient = 0.05 * np.sin(int(patient.removeprefix("mr-")))
    return float(np.clip(end * (1 - np.exp(-epochs / (3 + (1 - r)))) + of_patient + random.normal(0, 0.02), 0, 1))


def pretending(best: float) -> Callable[[Plan], None]:
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


def failing(carry_out: Callable[[Plan], None], *, loses: Callable[[Run, int], bool]) -> Callable[[Plan], None]:
    """The same, but runs that `loses` names, by themselves and the epochs of their end, fail with a reason."""

    def carry_others_out(plan: Plan) -> None:
        lost = [run for run in plan.runs if loses(run, plan.epochs_of(run)) and not plan.run_folder(run).is_done]
        for run in lost:
            if run.start is not None and not (plan.folder / run.start / "state.pt").exists():
                raise BadData(f"{run.name} starts from a state that is not there")
            plan.run_folder(run).mark_failed("ArithmeticError: the loss became nan in epoch 2")
        carry_out(replace(plan, runs=tuple(run for run in plan.runs if run not in lost)))
        if lost:
            raise RunsFailed("some failed")

    return carry_others_out


def stopping(carry_out: Callable[[Plan], None], *, at: tuple[int, ...]) -> Callable[[Plan], None]:
    """The same, interrupted before those calls."""
    calls = 0

    def carry_some_out(plan: Plan) -> None:
        nonlocal calls
        calls += 1
        if calls in at:
            raise Interrupted("stopped for the test")
        carry_out(plan)

    return carry_some_out


def bench_of(
    patients: Path,
    out: Path,
    carry_out: Callable[[Plan], None],
    *,
    seeds: tuple[int, ...] = (1, 2, 3),
    **calibrate: Any,
) -> Bench:
    """Nine patients: one of three outer folds, two inner ones."""
    spec = tiny_spec(
        patients, out, folds={"count": 3, "use": [0]}, grid={"seed": list(seeds)}, train={"epochs": EPOCHS},
        calibrate={"inner_folds": 2} | calibrate,
    )  # fmt: skip
    return make_bench(spec, objective_of=objective_of, carry_out=carry_out)
