"""Scores in a file: columns, undefined values, both formats, and nothing half-written."""

import numpy as np
import polars as pl
import pytest

from masks import label_map
from steelyard.errors import BadData, BadSpec
from steelyard.evaluate import evaluate_case, scores_frame, write_scores

COLUMNS = ["case_id", "patient_id", "organ", "metric", "convention", "value", "unit", "status"]
HEART = np.zeros((3, 4, 5), np.uint8)
HEART[1, 1:3, 1:4] = 1


@pytest.fixture
def cases():
    maps = label_map(HEART), label_map(np.roll(HEART, 1, axis=2))
    return [evaluate_case(*maps, case_id=name, patient_id=f"p-{name}") for name in ("a", "b")]


def test_one_case_has_its_own_rows_only_and_several_have_pooled_ones_too(cases):
    alone, both = scores_frame(cases[:1]), scores_frame(cases)
    assert alone["case_id"].unique().to_list() == ["a"]
    assert set(both["case_id"]) == {"a", "b", None}
    assert both.columns == COLUMNS
    heart = both.filter(pl.col("case_id").is_null(), organ="heart", metric="dice")
    assert heart["value"].to_list() == pytest.approx([2 * 4 / (6 + 6)])


@pytest.mark.parametrize(
    ("name", "read"), [("s.csv", pl.read_csv), ("s.parquet", pl.read_parquet), ("S.CSV", pl.read_csv)]
)
def test_a_file_holds_what_the_table_holds(cases, tmp_path, name, read):
    frame = scores_frame(cases)
    write_scores(tmp_path / "new" / name, frame)
    back = read(tmp_path / "new" / name)
    assert back.columns == COLUMNS
    assert back["value"].to_list() == frame["value"].to_list()
    assert back["case_id"].to_list() == frame["case_id"].to_list()
    lung = back.filter(organ="lung", metric="dice", case_id="a")
    assert (lung["value"].to_list(), lung["status"].to_list()) == ([None], ["undefined"])
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("name", ["scores.xlsx", "scores", "scores.csv.gz"])
def test_another_ending_is_refused_and_nothing_written(cases, tmp_path, name):
    with pytest.raises(BadSpec, match=r"\.csv or \.parquet"):
        write_scores(tmp_path / name, scores_frame(cases))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(cases, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadData) as error:
        write_scores(tmp_path / "file" / "scores.csv", scores_frame(cases))
    assert "cannot be written" in str(error.value)
    assert "\n" not in str(error.value)
