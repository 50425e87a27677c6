"""A study written by hand, decided without and with a CRF, and what the paired differences must be."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steelyard.errors import BadData
from steelyard.scores import Score, to_frame
from steelyard.study.crf_effect import COLUMNS, write_crf_effect

SETTINGS = {"smoothness_weight": 3.0}
Values = dict[str, dict[str, tuple[float | None, float | None]]]  # case → organ → IoU without, with; patient_case


def study(folder: Path, runs: list[Values], *, crf: Any = SETTINGS, loss: str = "dice", **about: Any) -> Path:
    described = []
    for number, values in enumerate(runs):
        run = folder / f"run{number}"
        (run / "predictions").mkdir(parents=True)
        (run / "crf").mkdir()
        for index, where in enumerate((run, run / "crf")):
            scores = [iou(pair[index], organ, case) for case, own in values.items() for organ, pair in own.items()]
            to_frame([*scores, Score("iou", 0.99, "1", "counts", "ok", "liver")]).write_parquet(
                where / "scores.parquet"
            )
            (where / "DONE").write_text("")
        cases = [{"case_id": case, "seconds": 2.0, "voxels": 1000, "voxels_changed": 10} for case in values]
        cases = [case | {"voxels_unlike_the_runs_own": 0} | about for case in cases]
        record = {"crf": SETTINGS, "backend": "mean_field", "cases": cases}
        (run / "crf" / "run.json").write_text(json.dumps(record))
        described.append(
            {"run": run.name, "network": "net", "loss": loss, "task": "multiclass", "fold": 0, "seed": number}
        )
    organs = [{"name": organ} for organ in ("liver", "spleen")]
    plan = {"schema": 1, "name": "s", "spec": {"crf": crf}, "label_set": {"organs": organs}, "runs": described}
    (folder / "study.json").write_text(json.dumps(plan))
    return folder


def iou(value: float | None, organ: str, case: str) -> Score:
    status = "undefined" if value is None else "missed" if value == 0 else "ok"
    return Score("iou", value, "1", "counts", status, organ, case, case.split("_")[0])


def effect(folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    write_crf_effect(folder)
    return pl.read_parquet(folder / "crf.parquet"), json.loads((folder / "crf.json").read_text())


def row(table: pl.DataFrame, organ: str | None, metric: str = "iou") -> dict[str, Any]:
    wanted = pl.col("organ").eq_missing(pl.lit(organ, pl.String)), pl.col("metric") == metric
    return table.filter(*wanted).row(0, named=True)


def test_the_difference_is_with_less_without_and_a_patient_counts_once(tmp_path):
    first = {"p1_a": {"liver": (0.5, 0.6)}, "p1_b": {"liver": (0.7, 0.6)}, "p2_a": {"liver": (0.3, 0.5)}}
    second = {"p1_a": {"liver": (0.6, 0.9)}, "p2_a": {"liver": (0.1, 0.1)}, "p3_a": {"liver": (0.4, None)}}
    table, about = effect(study(tmp_path, [first, second]))
    found = row(table, "liver")
    assert found["patients"] == 2  # the third has no value with the CRF
    assert found["mean_without"] == pytest.approx((0.6 + 0.2) / 2)  # p1: (.5 + .7 + .6) / 3, p2: (.3 + .1) / 2
    assert found["mean_with"] == pytest.approx((0.7 + 0.3) / 2)
    assert found["mean_difference"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.1))  # both patients differ by the same
    assert list(table.columns) == list(COLUMNS)
    assert about["conditions"][0]["cases"] == 6
    assert about["conditions"][0]["seconds_per_case"] == 2.0
    assert about["conditions"][0]["share_changed"] == pytest.approx(0.01)
    assert about["conditions"][0]["backends"] == ["mean_field"]


def test_few_patients_leave_the_interval_open(tmp_path):
    table, _ = effect(study(tmp_path, [{"p1_a": {"liver": (0.5, 0.6)}, "p2_a": {"liver": (0.5, 0.9)}}]))
    assert (row(table, "liver")["low"], row(table, "liver")["high"]) == (-inf, inf)
    table, _ = effect(study(tmp_path / "one", [{"p1_a": {"liver": (0.5, 0.6)}}]))
    assert (row(table, "liver")["low"], row(table, "liver")["high"]) == (None, None)


def test_the_mean_over_organs_is_of_a_patients_own_organs(tmp_path):
    values = {"p1_a": {"liver": (0.5, 0.6), "spleen": (0.2, 0.5)}, "p2_a": {"liver": (0.5, 0.5)}}
    table, _ = effect(study(tmp_path, [values]))
    assert row(table, None)["mean_difference"] == pytest.approx((0.2 + 0.0) / 2)


def test_of_signed_errors_the_size_is_compared(tmp_path):
    folder = study(tmp_path, [{"p1_a": {"liver": (0.5, 0.6)}}])
    for path, error in (("run0/scores.parquet", -30.0), ("run0/crf/scores.parquet", 20.0)):
        ml = to_frame([Score("volume_error_ml", error, "ml", "counts", "ok", "liver", "p1_a", "p1")])
        pl.concat([pl.read_parquet(folder / path), ml]).write_parquet(folder / path)
    found = row(effect(folder)[0], "liver", "volume_error_ml")
    assert (found["mean_without"], found["mean_with"], found["mean_difference"]) == (30.0, 20.0, -10.0)


def test_organs_lost_and_found_are_counted_case_by_case(tmp_path):
    values = {
        "p1_a": {"liver": (0.0, 0.2), "spleen": (0.4, 0.5)},
        "p2_a": {"liver": (0.3, 0.0), "spleen": (0.4, 0.0)},
        "p3_a": {"liver": (0.0, 0.0), "spleen": (0.4, 0.5)},
        "p4_a": {"liver": (0.0, 0.1), "spleen": (0.4, 0.5)},
    }
    organs = effect(study(tmp_path, [values]))[1]["conditions"][0]["organs"]
    keys = [f"missed_{when}" for when in ("without", "with", "no_more", "newly")]
    assert [organs["liver"][key] for key in ("cases", *keys)] == [4, 3, 2, 2, 1]
    assert [organs["spleen"][key] for key in ("cases", *keys)] == [4, 0, 1, 0, 1]
    assert organs["liver"]["invented_without"] == 0


def test_runs_without_a_crf_of_these_settings_are_named_and_enter_no_number(tmp_path):
    values = {"p1_a": {"liver": (0.5, 0.6)}}
    folder = study(tmp_path, [values, {"p1_a": {"liver": (0.1, 0.9)}}, values])
    (folder / "run1" / "crf" / "DONE").unlink()
    record = json.loads((folder / "run2" / "crf" / "run.json").read_text())
    (folder / "run2" / "crf" / "run.json").write_text(json.dumps(record | {"crf": {"smoothness_weight": 1.0}}))
    table, about = effect(folder)
    assert about["lacking"] == ["run1", "run2"]
    assert row(table, "liver")["mean_difference"] == pytest.approx(0.1)


def test_a_study_that_asks_for_none_any_more_keeps_no_old_numbers(tmp_path):
    folder = study(tmp_path, [{"p1_a": {"liver": (0.5, 0.6)}}])
    effect(folder)
    plan = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(plan | {"spec": {"crf": None}}))
    write_crf_effect(folder)
    assert not (folder / "crf.parquet").exists()
    assert not (folder / "crf.json").exists()


def test_a_damaged_table_is_named(tmp_path):
    folder = study(tmp_path, [{"p1_a": {"liver": (0.5, 0.6)}}])
    (folder / "run0" / "crf" / "scores.parquet").write_bytes(b"no table")
    with pytest.raises(BadData, match=r"crf/scores\.parquet: cannot be read as a table"):
        write_crf_effect(folder)
