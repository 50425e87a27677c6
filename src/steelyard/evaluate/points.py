"""The CHAOS challenge's score: points per organ, their mean per case, and the mean over cases for the task."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from steelyard.evaluate.case import CaseEvaluation
from steelyard.scores import Score, Status

TOTAL = "chaos_score"
PARTS = {
    "chaos_dice_score": "Dice",
    "chaos_ravd_score": "RAVD",
    "chaos_assd_score": "ASSD",
    "chaos_mssd_score": "MSSD",
    TOTAL: "total",
}
UNDEFINED = "–"


def case_points(evaluation: CaseEvaluation) -> dict[str, float | None]:
    """Points for each of the four measures, and in total: means over the organs; None where no organ has points.

    An organ in neither mask has no points and is left out; one missed or invented has 0.
    """
    return {part: _mean([s.value for s in evaluation.scores if s.metric == part]) for part in PARTS}


def task_points(evaluations: Sequence[CaseEvaluation]) -> dict[str, float | None]:
    """The means of `case_points` over the cases: every case weighs the same, as in the challenge."""
    cases = [case_points(evaluation) for evaluation in evaluations]
    return {part: _mean([case[part] for case in cases]) for part in PARTS}


def total_scores(evaluations: Sequence[CaseEvaluation]) -> list[Score]:
    """The totals as rows without an organ: one per case and, with several, one for the task, without a case."""
    rows = [
        _row(case_points(evaluation)[TOTAL], case_id=evaluation.case_id, patient_id=evaluation.patient_id)
        for evaluation in evaluations
    ]
    return rows + ([_row(task_points(evaluations)[TOTAL])] if len(evaluations) > 1 else [])


def points_table(evaluations: Sequence[CaseEvaluation]) -> Table:
    """Points of every case and organ, then of each organ over the cases, and of the task."""
    table = Table(title="CHAOS points (0 to 100)", box=box.SIMPLE, pad_edge=False, title_justify="left")
    table.add_column("case", overflow="fold")
    table.add_column("organ", overflow="fold")
    for heading in PARTS.values():
        table.add_column(heading, justify="right")
    organs = evaluations[0].label_set.organs
    for evaluation in evaluations:
        for place, organ in enumerate(organs):
            points = {score.metric: score.value for score in evaluation.scores if score.organ == organ.name}
            table.add_row("" if place else evaluation.case_id, organ.title, *_cells(points))
        table.add_row("", "all organs", *_cells(case_points(evaluation)))
        table.add_section()
    if len(evaluations) > 1:
        for place, organ in enumerate(organs):
            scores = [score for case in evaluations for score in case.scores if score.organ == organ.name]
            points = {part: _mean([score.value for score in scores if score.metric == part]) for part in PARTS}
            table.add_row("" if place else f"mean of {len(evaluations)}", organ.title, *_cells(points))
        table.add_row("", "the task", *_cells(task_points(evaluations)))
    return table


def _cells(points: dict[str, float | None]) -> list[str]:
    return [UNDEFINED if points.get(part) is None else f"{points[part]:.2f}" for part in PARTS]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _row(value: float | None, *, case_id: str | None = None, patient_id: str | None = None) -> Score:
    status: Status = "undefined" if value is None else "ok"
    return Score(TOTAL, value, "points", "chaos", status, case_id=case_id, patient_id=patient_id)
