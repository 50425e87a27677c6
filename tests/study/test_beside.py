"""Two studies written by hand, and what the paired differences between them must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from steelyard.errors import BadData
from steelyard.scores import Score, to_frame
from steelyard.study.beside import BESIDE, write_beside

Values = dict[str, dict[str, float | None]]  # case id → organ → IoU; the patient is the part before the underscore


def study(folder: Path, runs: list[tuple[str, int, int, Values]], *, undone: tuple[int, ...] = ()) -> Path:
    """Each run: loss, fold, seed, values."""
    described = []
    for number, (loss, fold, seed, values) in enumerate(runs):
        own = folder / f"run{number}"
        own.mkdir(parents=True)
        scores = [
            Score("iou", v, "1", "counts", "undefined" if v is None else "ok", organ, case, case.split("_")[0])
            for case, organs in values.items()
            for organ, v in organs.items()
        ]
        to_frame([*scores, Score("iou", 0.999, "1", "counts", "ok", "liver")]).write_parquet(own / "scores.parquet")
        if number not in undone:
            (own / "DONE").write_text("")
        described.append(
            {"run": own.name, "network": "net", "loss": loss, "task": "multiclass", "fold": fold, "seed": seed}
        )
    organs = [{"name": organ} for organ in ("liver", "spleen")]
    plan = {"schema": 1, "name": folder.name, "spec": {}, "label_set": {"organs": organs}, "runs": described}
    (folder / "study.json").write_text(json.dumps(plan))
    return folder


def beside(study: Path, other: Path) -> pl.DataFrame:
    write_beside(study, other)
    return pl.read_parquet(study / "beside.parquet")


def row(table: pl.DataFrame, loss: str | None, organ: str | None) -> dict[str, Any]:
    wanted = [pl.col(n).eq_missing(pl.lit(v, dtype=pl.String)) for n, v in (("loss", loss), ("organ", organ))]
    return table.filter(wanted).row(0, named=True)


def test_the_difference_is_there_less_here_with_each_patient_counted_once(tmp_path):
    here = {"p1_a": {"liver": 0.5}, "p1_b": {"liver": 0.7}, "p2_a": {"liver": 0.3}}
    there = {"p1_a": {"liver": 0.8}, "p1_b": {"liver": 0.8}, "p2_a": {"liver": 0.4}}
    found = row(
        beside(study(tmp_path / "a", [("x", 0, 1, here)]), study(tmp_path / "b", [("x", 3, 1, there)])), "x", "liver"
    )
    assert (found["study"], found["other"], found["patients"]) == ("a", "b", 2)
    assert found["mean_study"] == pytest.approx(0.45)  # ((.5 + .7) / 2 + .3) / 2
    assert found["mean_other"] == pytest.approx(0.6)
    assert found["mean_difference"] == pytest.approx(0.15)  # the fold of a case differs, and does not matter


def test_seeds_are_averaged_first_and_a_case_undefined_in_one_study_is_left_out(tmp_path):
    here = [("x", 0, seed, {"p1_a": {"liver": v}, "p2_a": {"liver": 0.1}}) for seed, v in ((1, 0.2), (2, 0.4))]
    there = [("x", 0, 7, {"p1_a": {"liver": 0.9}, "p2_a": {"liver": None}, "p3_a": {"liver": 0.9}})]
    found = row(beside(study(tmp_path / "a", here), study(tmp_path / "b", there)), "x", "liver")
    assert found["patients"] == 1
    assert found["mean_difference"] == pytest.approx(0.6)
    assert (found["low"], found["high"]) == (None, None)


def test_means_over_organs_and_over_losses_have_rows_of_their_own(tmp_path):
    def values(liver: float, spleen: float | None) -> Values:
        return {f"p{i}_a": {"liver": liver, "spleen": spleen} for i in range(1, 6)}

    here = [("x", 0, 1, values(0.5, 0.2)), ("y", 0, 1, values(0.6, None)), ("only here", 0, 1, values(0.1, 0.1))]
    there = [("x", 0, 1, values(0.6, 0.5)), ("y", 0, 1, values(0.64, 0.9))]
    table = beside(study(tmp_path / "a", here), study(tmp_path / "b", there))
    assert row(table, "x", None)["mean_difference"] == pytest.approx(0.2)  # (.1 + .3) / 2
    assert row(table, "y", None)["mean_difference"] == pytest.approx(0.04)  # the spleen is undefined here
    total = row(table, None, None)
    assert total["mean_difference"] == pytest.approx(0.12)
    assert total["low"] == pytest.approx(total["high"]) == pytest.approx(0.12)  # all patients differ by the same
    assert "only here" not in set(table["loss"])


def test_an_interval_of_even_differences_is_near_students(tmp_path):
    differences = stats.norm.ppf((np.arange(20) + 0.5) / 20) * 0.06 + 0.05
    here = {f"p{i:02}_a": {"liver": 0.4} for i in range(20)}
    there = {f"p{i:02}_a": {"liver": 0.4 + d} for i, d in enumerate(differences)}
    found = row(
        beside(study(tmp_path / "a", [("x", 0, 1, here)]), study(tmp_path / "b", [("x", 0, 1, there)])), "x", "liver"
    )
    low, high = stats.t.interval(0.95, 19, loc=differences.mean(), scale=stats.sem(differences))
    assert found["low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert found["high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_runs_that_are_not_done_and_studies_without_a_common_loss_give_no_row(tmp_path):
    one = {"p1_a": {"liver": 0.5}}
    here = study(tmp_path / "a", [("x", 0, 1, one)])
    table = beside(here, study(tmp_path / "b", [("x", 0, 1, one), ("y", 0, 1, one)], undone=(0,)))
    assert table.is_empty()
    assert table.columns == list(BESIDE)


def test_studies_that_compare_distances_are_put_beside_each_other_by_iou(tmp_path):
    folders = []
    for name, iou, distance in (("a", 0.5, 9.0), ("b", 0.7, 6.0)):
        folder = study(tmp_path / name, [("x", 0, 1, {"p1_a": {"liver": iou}})])
        plan = json.loads((folder / "study.json").read_text())
        (folder / "study.json").write_text(json.dumps(plan | {"spec": {"compare": {"metric": "hd95_mm"}}}))
        file = folder / "run0" / "scores.parquet"
        far = to_frame([Score("hd95_mm", distance, "mm", "chaos", "ok", "liver", "p1_a", "p1")])
        pl.concat([pl.read_parquet(file), far]).write_parquet(file)
        folders.append(folder)
    found = row(beside(*folders), "x", "liver")
    assert (found["metric"], found["convention"]) == ("iou", "counts")
    assert found["mean_difference"] == pytest.approx(0.2)


def test_damaged_scores_end_in_one_line(tmp_path):
    folders = [study(tmp_path / name, [("x", 0, 1, {"p1_a": {"liver": 0.5}})]) for name in "ab"]
    (folders[1] / "run0" / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadData, match=r"b/run0/scores\.parquet: cannot be read as a table"):
        write_beside(*folders)
