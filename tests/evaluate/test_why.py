"""Why tools differ: the steps as a table and a file."""

import numpy as np
import pytest
from rich.console import Console

from masks import blob, label_map
from steelyard.evaluate import convention_table, evaluate_case, rule_table, why_frame, why_table
from steelyard.evaluate.case import ALL_CONVENTIONS
from steelyard.evaluate.why import explain_case

SHAPE = (7, 9, 8)
REFERENCE = blob(SHAPE, seed=1).astype(np.uint8)
PREDICTION = blob(SHAPE, seed=2, share=0.6).astype(np.uint8)
PREDICTION[0, 0] = 2  # a lung that the reference lacks


@pytest.fixture
def maps():
    return label_map(REFERENCE), label_map(PREDICTION)


def printed(table) -> list[str]:
    console = Console(width=80, record=True)
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_file_holds_the_scores_of_every_convention_and_differences_that_add_up(maps):
    frame = why_frame([explain_case(*maps, case_id="a")])
    case = evaluate_case(*maps, case_id="a", patient_id="a", conventions=ALL_CONVENTIONS)
    wanted = {(s.metric, s.convention): s.value for s in case.scores if s.organ == "heart"}
    assert frame["organ"].unique().to_list() == ["heart"]  # the lung is in one mask only
    for family in ("assd_mm", "mssd_mm", "hd95_mm", "nsd_2mm"):
        rows = frame.filter(metric=family)
        for row in rows.drop_nulls("convention").iter_rows(named=True):
            assert row["value"] == pytest.approx(wanted[family, row["convention"]])
        assert rows["difference"].sum() == pytest.approx(rows["value"][-1] - rows["value"][0])


def test_the_screen_shows_each_step_and_the_means_of_several_cases(maps):
    one = explain_case(*maps, case_id="a")
    same = explain_case(maps[0], maps[0], case_id="b")
    lines = printed(why_table([one, same]))
    value = why_frame([one]).filter(metric="assd_mm", step=0)["value"][0]
    assert any(f"{value / 2:.3f}" in line and "chaos" in line for line in lines)
    assert "means of 2 cases" in lines[0]
    assert any("mean of two means" in line and "deepmind" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_the_rules_take_a_line_for_each_metric_and_convention():
    lines = printed(rule_table())
    assert sum("chaos" in line for line in lines) == 4
    assert sum("nan" in line for line in lines) == 2  # MONAI's percentile, and one of DeepMind's two means
    assert all(len(line) <= 80 for line in lines)


def test_conventions_stand_side_by_side_where_there_are_several(maps):
    def table(*conventions):
        case = evaluate_case(*maps, case_id="a", patient_id="a", conventions=conventions)
        return convention_table([case])

    assert table("chaos", "matlab") is None
    lines = printed(table("chaos", "deepmind"))
    assert any("heart" in line and "chaos" in line for line in lines)
    assert any("lung, invented" in line for line in lines)
    assert not any("monai" in line for line in lines)
