"""Scores as rows: a value or none, never a NaN."""

from __future__ import annotations

from dataclasses import fields

import polars as pl
import pytest

from steelyard.scores import SCHEMA, Score, to_frame


def score(value: float | None = 0.5, status: str = "ok", **more: object) -> Score:
    return Score("dice", value, "1", "matlab", status, **more)  # type: ignore[arg-type]


def test_a_score_has_a_value_exactly_when_it_is_defined():
    assert score(None, "undefined").value is None
    assert score(0.0, "missed").value == 0
    for value, status in ((None, "ok"), (None, "missed"), (0.5, "undefined")):
        with pytest.raises(ValueError, match="does not go with"):
            score(value, status)


def test_a_nan_is_no_score():
    with pytest.raises(ValueError, match="NaN"):
        score(float("nan"))


def test_the_table_has_the_columns_of_a_score_in_a_fixed_order():
    assert set(SCHEMA) == {field.name for field in fields(Score)}
    rows = [score(organ="liver", fold=2, seed=7, case_id="7_in"), score(None, "undefined", organ="spleen")]
    table = to_frame(rows)
    assert table.schema == pl.Schema(SCHEMA)
    assert table.columns[:3] == ["study", "run", "network"]
    assert table.row(0, named=True) == {name: getattr(rows[0], name) for name in SCHEMA}
    assert table["value"].to_list() == [0.5, None]


def test_values_stay_numbers_when_the_first_hundreds_are_undefined_or_whole():
    table = to_frame([score(None, "undefined")] * 300 + [score(1), score(0.25)])
    assert table["value"].dtype == pl.Float64
    assert table["value"].to_list()[-2:] == [1.0, 0.25]


def test_no_scores_are_an_empty_table_with_all_columns():
    assert to_frame([]).schema == pl.Schema(SCHEMA)
