"""The table on the screen: what a reader of 80 columns sees."""

import io

import numpy as np
import pytest
from rich.console import Console

from masks import label_map
from steelyard.evaluate import evaluate_case, score_table

BOTH = np.zeros((3, 6, 8), np.uint8)
BOTH[1, 1:3, 1:5] = 1
BOTH[2, 4, 5:7] = 2


def case(prediction, case_id="mr-01", **options):
    return evaluate_case(label_map(BOTH), label_map(prediction), case_id=case_id, patient_id="p", **options)


def screen(*cases, width=80) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(score_table(cases))
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def row(lines, start):
    [found] = [line.split() for line in lines if line.split()[: len(start.split())] == start.split()]
    return found[len(start.split()) :]


def test_one_case_shows_each_organ_with_its_main_scores():
    """The heart lost one of four columns of 2 voxels: Dice 12/14, IoU 3/4, RAVD 25 %, MSSD one column of 3 mm."""
    lines = screen(case(np.where(np.arange(8) == 1, 0, BOTH)))
    assert lines[0] == "mr-01"
    assert row(lines, "heart")[:5] == ["0.857", "0.750", "1.000", "0.750", "25.0"]
    assert row(lines, "heart")[6] == "3.0"
    assert row(lines, "lung")[:5] == ["1.000", "1.000", "1.000", "1.000", "0.0"]
    assert "mean IoU 0.9" in " ".join(lines)


def test_undefined_is_a_dash_and_a_missed_organ_is_marked():
    lines = screen(case(np.where(BOTH == 2, 0, BOTH)))
    assert row(lines, "lung, missed")[:5] == ["0.000", "0.000", "–", "0.000", "100.0"]


def test_several_cases_end_in_a_mean_that_leaves_out_and_counts_the_undefined():
    lines = screen(case(BOTH, "a"), case(np.where(BOTH == 2, 0, BOTH), "b"), case(BOTH, "c"), width=110)
    mean = row(lines, "lung mean of 3, 1 missed")
    assert mean[0] == "0.667"
    assert mean[2:5] == ["1.000", "(1", "–)"]
    assert row(lines, "lung b, missed")[2] == "–"
    assert row(lines, "heart c")[0] == "1.000"


def test_many_cases_show_means_only():
    lines = screen(*(case(BOTH, f"case-{n}") for n in range(9)), width=110)
    assert row(lines, "heart mean of 9")[0] == "1.000"
    assert not any("case-3" in line for line in lines)


@pytest.mark.parametrize(
    ("convention", "shown", "hidden"), [("chaos", "ASSD", "BF"), ("matlab", "BF", "ASSD"), ("monai", "ASSD", "RAVD")]
)
def test_a_convention_shows_its_own_columns(convention, shown, hidden):
    text = "\n".join(screen(case(BOTH, conventions=[convention])))
    assert shown in text
    assert hidden not in text


def test_no_number_is_cut_at_80_columns():
    lines = screen(case(BOTH, "mr-01_t1_in"), case(np.where(BOTH == 1, 0, BOTH), "mr-02_t1_in"))
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in "".join(lines)
