"""The CHAOS challenge's total: mean over organs per case, then over cases."""

import numpy as np
import pytest
from rich.console import Console

from masks import label_map
from steelyard.evaluate import evaluate_case, points_table
from steelyard.evaluate.points import case_points, task_points, total_scores

SHAPE = (3, 8, 8)


def labels(heart=np.s_[0:0], lung=np.s_[0:0]) -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found[heart], found[lung] = 1, 2
    return found


WHOLE = labels(np.s_[1, 1:5, 1:6], np.s_[1, 6:8, 0:4])
CUT = labels(np.s_[1, 1:5, 1:5], np.s_[1, 6:8, 0:4])  # the heart lost one of five columns of 3 mm


def case(reference, prediction, case_id="a"):
    return evaluate_case(label_map(reference), label_map(prediction), case_id=case_id, patient_id=case_id)


def test_points_of_a_case_are_the_mean_over_its_organs():
    """Heart: Dice 32/36, RAVD 20 % (none), MSSD 3 mm (95), ASSD 4·3/36 mm. The lung has 100 of each."""
    dice, assd = 100 * 32 / 36, 100 - 20 / 3 * (4 * 3 / (20 + 16))
    points = case_points(case(WHOLE, CUT))
    assert points["chaos_dice_score"] == pytest.approx((dice + 100) / 2)
    assert points["chaos_ravd_score"] == pytest.approx((0 + 100) / 2)
    assert points["chaos_assd_score"] == pytest.approx((assd + 100) / 2)
    assert points["chaos_mssd_score"] == pytest.approx((95 + 100) / 2)
    assert points["chaos_score"] == pytest.approx(((dice + 0 + assd + 95) / 4 + 100) / 2)


def test_a_missed_organ_has_no_points_and_one_that_nobody_has_is_left_out():
    assert case_points(case(WHOLE, labels(heart=np.s_[1, 1:5, 1:6])))["chaos_score"] == pytest.approx(50)
    only_heart = labels(heart=np.s_[1, 1:5, 1:6])
    assert case_points(case(only_heart, only_heart))["chaos_score"] == 100
    assert case_points(case(labels(), labels()))["chaos_score"] is None


def test_the_task_weighs_cases_equally_however_many_organs_they_have():
    one_organ = labels(heart=np.s_[1, 1:5, 1:6])
    cases = [case(one_organ, labels(), "a"), case(WHOLE, WHOLE, "b"), case(labels(), labels(), "c")]
    assert task_points(cases)["chaos_score"] == pytest.approx((0 + 100) / 2)  # over the three organs it would be 66.7
    rows = {score.case_id: (score.value, score.status) for score in total_scores(cases)}
    assert rows == {"a": (0, "ok"), "b": (100, "ok"), "c": (None, "undefined"), None: (50, "ok")}


def test_the_table_shows_every_case_and_the_task():
    console = Console(width=100, record=True)
    console.print(points_table([case(WHOLE, WHOLE, "a"), case(WHOLE, labels(heart=np.s_[1, 1:5, 1:6]), "b")]))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["a", "heart", *["100.00"] * 5] in rows
    assert ["lung", *["0.00"] * 5] in rows
    assert ["the", "task", *["75.00"] * 5] in rows
