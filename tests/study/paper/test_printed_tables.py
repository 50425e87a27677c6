"""The printed numbers: only those that were given, in the right cells, and checked against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.errors import BadData
from steelyard.study.paper.printed import (
    FILE,
    LOSSES,
    NOT_AT_HAND,
    NOT_PRINTED,
    ORGANS,
    printed_facts,
    printed_tables,
    read_printed,
)

CELLS = {"background": 0.99, "liver": 0.9, "spleen": 0.7, "right_kidney": 0.8, "left_kidney": 0.6}


def written(tmp_path: Path, **changes: object) -> Path:
    """A file with one table of one column; the organs' mean is .75, that of all five .798."""
    rows: dict[str, object] = CELLS | {"average": 0.8, "average_of_organs": 0.75, "rank": 3} | changes
    text = 'facts = {}\n[tables.t]\ntitle = "T"\nsource = "the book"\ncolumns = ["dice"]\n'
    for row, value in rows.items():
        text += f"[tables.t.rows.{row}]\ndice = {value!r}\n"
    path = tmp_path / "printed.toml"
    path.write_text(text)
    return path


def test_the_organ_means_of_the_six_losses_are_those_that_were_worked_out():
    row = {loss: printed_tables()["table3"].cell("average_of_organs", loss).value for loss in LOSSES}
    assert row == {"crossE": 0.815, "iou11": 0.81, "iou1505": 0.735, "iou0515": 0.87, "dice": 0.81, "diceBK": 0.815}


def test_the_uniclass_means_stand_in_the_order_of_the_columns_not_of_the_text():
    table = printed_tables()["table4"]
    found = [table.cell("average_of_organs", f"uniclass/{loss}").value for loss in ("crossE", "iou11", "dice")]
    assert found == [0.715, 0.67, 0.743]


def test_dearer_misses_lift_the_average_from_85_to_90_in_the_papers_summary_not_in_its_table():
    table = printed_tables()["table3"]
    stated = {loss: table.cells["average", loss] for loss in ("crossE", "iou0515")}
    assert {loss: cell.value for loss, cell in stated.items()} == {"crossE": 0.85, "iou0515": 0.90}
    for cell in stated.values():
        assert "summary" in cell.source
        assert cell.source != table.source
    assert table.cells["spleen", "crossE"].source == table.source


def test_every_cell_has_a_number_or_a_word_and_a_source():
    for table in printed_tables().values():
        for cell in table.cells.values():
            assert (cell.value is None) == (cell.word in (NOT_AT_HAND, NOT_PRINTED))
            assert cell.source


def test_what_the_paper_does_not_have_is_not_printed():
    assert printed_tables()["table3"].cell("liver", "cross_entropy").word == NOT_PRINTED


def test_the_headline_sum_is_four_times_the_gain_of_the_organ_means():
    table, facts = printed_tables()["table3"], printed_facts()
    best, base = (table.cell("average_of_organs", loss).value for loss in ("iou0515", "crossE"))
    assert 100 * len(ORGANS) * (best - base) == pytest.approx(facts["headline_sum_points"].value)
    assert facts["slices"].value == pytest.approx(3 * facts["slices_per_sequence"].value, abs=3)


def test_a_cell_is_filled_in_by_changing_one_line(tmp_path):
    lines = FILE.read_text(encoding="utf-8").splitlines()
    at = lines.index("[tables.table3.rows.liver]") + 2  # crossE, then iou11
    assert lines[at] == 'iou11 = "not at hand"'
    lines[at] = "iou11 = 0.5"
    path = tmp_path / "printed.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    table = read_printed(path)[0]["table3"]
    assert table.cell("liver", "iou11").value == 0.5
    assert table.cell("liver", "iou11").source == "the paper's table 3"
    assert table.cell("liver", "crossE").value is None


def test_averages_that_fit_their_cells_are_taken_as_printed(tmp_path):
    table = read_printed(written(tmp_path))[0]["t"]
    assert table.cell("average", "dice").value == 0.8
    assert table.cell("average_of_organs", "dice").value == 0.75


def test_the_mean_of_the_organs_follows_from_the_cells_where_nobody_gave_it(tmp_path):
    cell = read_printed(written(tmp_path, average_of_organs=NOT_AT_HAND))[0]["t"].cell("average_of_organs", "dice")
    assert cell.value == pytest.approx(0.75)
    assert cell.source == "worked out from the cells above"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"average": 0.75}, "average is 0.75, but its cells give 0.7980"),  # the organs' mean in the place of all five
        ({"average_of_organs": 0.798}, "average_of_organs is 0.798, but its cells give 0.7500"),
        ({"liver": 90}, "a share from 0 to 1 was wanted; came 90"),
        ({"liver": "-"}, 'a number, "not at hand" or "not printed" was wanted'),
        ({"background": NOT_AT_HAND, "average": 0.9}, "ask for a background of 1.500"),
        ({"liver": True}, "was wanted"),
    ],
)
def test_numbers_that_cannot_be_right_are_refused_in_one_line(tmp_path, changes, words):
    path = written(tmp_path, **changes)
    path.write_text(path.read_text().replace("True", "true"))
    with pytest.raises(BadData) as raised:
        read_printed(path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_printed_average_of_iou0515_may_be_rounded_up(tmp_path):
    # .90 and .87 ask for a background of 1.02: possible, since .895 rounds to .90
    changes = dict.fromkeys((*ORGANS, "background"), NOT_AT_HAND) | {"average": 0.9, "average_of_organs": 0.87}
    assert read_printed(written(tmp_path, **changes))[0]["t"].cell("average", "dice").value == 0.9


def test_a_forgotten_column_is_named(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace('columns = ["dice"]', 'columns = ["dice", "iou11"]'))
    with pytest.raises(BadData, match="missing or unknown: iou11"):
        read_printed(path)


def test_a_work_of_the_literature_keeps_its_own_source(tmp_path):
    path = tmp_path / "printed.toml"
    path.write_text(
        'facts = {}\n[tables.table5]\ntitle = "T"\nsource = "table 5"\ncolumns = ["liver"]\n'
        '[tables.table5.rows."Doe 2019"]\nsource = "Doe, J. Test 2019"\nliver = 0.25\n'
    )
    cell = read_printed(path)[0]["table5"].cell("Doe 2019", "liver")
    assert (cell.value, cell.source) == (0.25, "Doe, J. Test 2019")
