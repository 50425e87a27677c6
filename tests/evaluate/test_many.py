"""Many cases: several processes give what one gives, and a broken case leaves a line and does not stop the others."""

import numpy as np
import polars as pl
import pytest

from mask_files import blocks, describe, organ_files, save
from steelyard.errors import BadData
from steelyard.evaluate import evaluate_many, evaluated_frame, find_cases, scores_frame

HIT = blocks(liver=1, spleen=2)


@pytest.fixture
def folders(tmp_path):
    """Four cases; the n-th prediction lacks n slices of the liver's block."""
    for number in range(4):
        mine = HIT.copy()
        mine[:number] *= mine[:number] != 1
        save(tmp_path / "truth" / f"mr_{number}.nii.gz", HIT)
        save(tmp_path / "mine" / f"mr_{number}.nii.gz", mine)
    describe(tmp_path / "truth", {"background": 0, "liver": 1, "spleen": 2})
    return tmp_path / "truth", tmp_path / "mine"


def test_two_processes_give_the_same_rows_in_the_same_order(folders):
    seen = []
    found = find_cases(*folders)
    alone = evaluate_many(found, None, why=True)
    both = evaluate_many(found, None, why=True, workers=2, progress=lambda *told: seen.append(told))
    assert [case.case_id for case in both.cases] == ["mr_0", "mr_1", "mr_2", "mr_3"]
    assert scores_frame(both.cases).equals(scores_frame(alone.cases))
    assert both.explanations == alone.explanations
    assert seen[-1] == ("scoring", 4, 4)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_case_is_named_and_the_others_are_scored(folders, workers):
    truth, mine = folders
    (mine / "mr_1.nii.gz").write_bytes(b"no NIfTI")
    save(mine / "mr_2.nii.gz", HIT, np.eye(4))
    done = evaluate_many(find_cases(truth, mine), None, workers=workers)
    assert [case.case_id for case in done.cases] == ["mr_0", "mr_3"]
    assert list(done.failures) == ["mr_1", "mr_2"]
    assert done.failures["mr_1"].startswith(f"case mr_1: {mine / 'mr_1.nii.gz'} ")
    assert done.failures["mr_2"].startswith("case mr_2: reference (")
    assert not any("\n" in line for line in done.failures.values())


def test_where_no_case_can_be_read_the_first_reason_is_given(folders):
    truth, mine = folders
    (truth / "dataset.json").unlink()
    for file in mine.iterdir():
        file.write_bytes(b"no NIfTI")
    with pytest.raises(BadData, match="case mr_0"):
        evaluate_many(find_cases(truth, mine), None)


def test_the_file_tells_the_labels_used_and_the_cases_that_are_not_in_it(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / "truth" / f"s{number}.nii.gz", np.select([HIT == 1, HIT == 2], [63, 252]).astype(np.uint8))
        organ_files(tmp_path / "mine" / f"s{number}", HIT, liver=1, spleen=2, kidney_right=3, kidney_left=3)
    (tmp_path / "mine" / "s2" / "liver.nii.gz").write_bytes(b"no NIfTI")
    save(tmp_path / "truth" / "s4.nii.gz", HIT * 63)
    found = find_cases(tmp_path / "truth", tmp_path / "mine", allow_missing=True)
    done = evaluate_many(found, None)
    frame = evaluated_frame(done)
    assert done.without_prediction == ("s4",)
    labels = frame.filter(pl.col("organ") == "right_kidney").select("reference_label", "prediction_label").unique()
    assert labels.rows() == [("126", "kidney_right")]
    assert frame.filter(pl.col("metric").is_null()).select("case_id", "status", "value").rows() == [
        ("s2", "failed", None),
        ("s4", "no prediction", None),
    ]
    assert scores_frame(done.cases).height == frame.height - 2


def test_totals_of_the_challenge_are_rows_without_an_organ(folders):
    done = evaluate_many(find_cases(*folders), None)
    totals = evaluated_frame(done, points=True).filter(pl.col("organ").is_null(), metric="chaos_score")
    assert totals["case_id"].to_list() == ["mr_0", "mr_1", "mr_2", "mr_3", None]
    assert totals["value"][4] == pytest.approx(totals["value"][:4].mean())
