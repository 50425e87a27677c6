"""Scores on the screen: organs and cases in rows, the main metrics in columns, global metrics below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from steelyard.evaluate.case import CaseEvaluation
from steelyard.evaluate.score_file import all_scores
from steelyard.scores import Score

# (metric, convention) → heading and decimals: what fits 80 characters. Everything else is in the file.
SHOWN: dict[tuple[str, str], tuple[str, int]] = {
    ("dice", "counts"): ("Dice", 3),
    ("iou", "counts"): ("IoU", 3),
    ("precision", "counts"): ("preci-\nsion", 3),
    ("sensitivity", "counts"): ("sensi-\ntivity", 3),
    ("ravd", "chaos"): ("RAVD\n%", 1),
    ("assd_mm", "chaos"): ("ASSD\nmm", 2),
    ("mssd_mm", "chaos"): ("MSSD\nmm", 1),
    ("hd95_mm", "chaos"): ("HD95\nmm", 1),
    ("bf_score", "missing_as_zero"): ("BF", 3),  # MATLAB's own would reward an organ that was missed
}
UNDEFINED = "–"
MOST_CASES = 8  # beyond these the screen shows means only; the file holds every case


def score_table(evaluations: Sequence[CaseEvaluation]) -> Table:
    """The main scores of one case or more, organs missed or invented marked. BF counts a slice that holds the organ in
    one mask only as 0.

    With several cases each organ also gets the mean over its cases; `(2 –)` behind it counts the cases where the
    metric is undefined, which the mean leaves out.
    """
    scores = all_scores(evaluations)
    known = {(score.metric, score.convention) for score in scores}
    columns = [key for key in SHOWN if key in known]
    several = len(evaluations) > 1
    table = Table(
        title="" if several else evaluations[0].case_id,
        caption=_global_line(scores, None if several else evaluations[0].case_id),
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("organ", overflow="fold")
    if several:
        table.add_column("case", overflow="fold")
    for key in columns:
        table.add_column(SHOWN[key][0], justify="right", no_wrap=True)
    for organ in evaluations[0].label_set.organs:
        for title, rows in _rows(evaluations, organ.name):
            cells = [_mean(rows, key) for key in columns]
            faults = _faults(rows)
            names = [organ.title, title + faults] if several else [organ.title + faults]
            table.add_row(*names, *cells)
        if several:
            table.add_section()
    return table


def _rows(evaluations: Sequence[CaseEvaluation], organ: str) -> Iterator[tuple[str, list[Score]]]:
    """What each line of an organ is called, and the scores that it shows the mean of."""
    of_case = {case.case_id: [score for score in case.scores if score.organ == organ] for case in evaluations}
    if len(evaluations) <= MOST_CASES:
        yield from of_case.items()
    if len(evaluations) > 1:
        yield f"mean of {len(evaluations)}", [score for scores in of_case.values() for score in scores]


def _faults(scores: Sequence[Score]) -> str:
    """`, missed` for an organ that the prediction lacks; over several cases how often."""
    status = {score.case_id: score.status for score in scores if score.status in ("missed", "invented")}
    cases = {score.case_id for score in scores}
    counts = {fault: list(status.values()).count(fault) for fault in ("missed", "invented")}
    return "".join(f", {fault}" if len(cases) == 1 else f", {n} {fault}" for fault, n in counts.items() if n)


def _mean(scores: Sequence[Score], key: tuple[str, str]) -> str:
    values = [score.value for score in scores if (score.metric, score.convention) == key]
    defined = [value for value in values if value is not None]
    if not defined:
        return UNDEFINED
    undefined = len(values) - len(defined)
    shown = f"{sum(defined) / len(defined):.{SHOWN[key][1]}f}"
    return f"{shown} ({undefined} {UNDEFINED})" if undefined else shown


def _global_line(scores: Sequence[Score], case_id: str | None) -> str:
    rows = [score for score in scores if score.organ is None and score.case_id == case_id]
    parts = [
        f"{score.metric.replace('_', ' ').replace('iou', 'IoU').replace('bf', 'BF')}"
        f"{' (missing as 0)' if score.convention == 'missing_as_zero' else ''} "
        f"{UNDEFINED if score.value is None else f'{score.value:.3f}'}"
        for score in rows
    ]
    return "All classes, background included: " + ", ".join(parts) + "." if parts else ""
