"""Scores on the screen: organs and cases in rows, the main metrics in columns, global metrics below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from steelyard.evaluate.case import CaseEvaluation
from steelyard.evaluate.score_file import all_scores
from steelyard.scores import Score

Key = tuple[str, str]  # metric, convention

# → heading and decimals: what fits 80 characters. Everything else is in the file.
SHOWN: dict[Key, tuple[str, int]] = {
    ("dice", "counts"): ("Dice", 3),
    ("iou", "counts"): ("IoU", 3),
    ("precision", "counts"): ("preci-\nsion", 3),
    ("sensitivity", "counts"): ("sensi-\ntivity", 3),
    ("ravd", "chaos"): ("RAVD\n%", 1),
    ("bf_score", "missing_as_zero"): ("BF", 3),  # MATLAB's own would reward an organ that was missed
}
SURFACES = ("chaos", "monai", "deepmind")  # the first of them that was asked for stands beside the others' metrics
OF_SURFACES: dict[str, tuple[str, int]] = {
    "assd_mm": ("ASSD\nmm", 2),
    "mssd_mm": ("MSSD\nmm", 1),
    "hd95_mm": ("HD95\nmm", 1),
    "nsd_2mm": ("NSD\n2 mm", 3),
}
IN_MAIN_TABLE = ("assd_mm", "mssd_mm", "hd95_mm")
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
    headings = _headings(evaluations[0])
    columns = [key for key in headings if key in known]
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
        table.add_column(headings[key][0], justify="right", no_wrap=True)
    for organ in evaluations[0].label_set.organs:
        for title, rows in _rows(evaluations, organ.name):
            cells = [_mean(rows, key, headings[key][1]) for key in columns]
            faults = _faults(rows)
            names = [organ.title, title + faults] if several else [organ.title + faults]
            table.add_row(*names, *cells)
        if several:
            table.add_section()
    return table


def convention_table(evaluations: Sequence[CaseEvaluation]) -> Table | None:
    """Surface distances in every convention asked for, one under the other: means over the cases. None for just one."""
    conventions = [name for name in SURFACES if name in evaluations[0].conventions]
    if len(conventions) < 2:
        return None
    several = len(evaluations) > 1
    title = "Conventions side by side" + (f" (means of {len(evaluations)} cases)" if several else "")
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False, title_justify="left")
    table.add_column("organ", overflow="fold")
    table.add_column("convention")
    for heading, _ in OF_SURFACES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for organ in evaluations[0].label_set.organs:
        rows = [score for case in evaluations for score in case.scores if score.organ == organ.name]
        for place, convention in enumerate(conventions):
            cells = [_mean(rows, (metric, convention), decimals + 1) for metric, (_, decimals) in OF_SURFACES.items()]
            table.add_row("" if place else organ.title + _faults(rows), convention, *cells)
        table.add_section()
    return table


def _headings(evaluation: CaseEvaluation) -> dict[Key, tuple[str, int]]:
    headings = dict(SHOWN)
    bf_score = headings.popitem()
    for convention in [name for name in SURFACES if name in evaluation.conventions][:1]:
        headings |= {(metric, convention): OF_SURFACES[metric] for metric in IN_MAIN_TABLE}
    return headings | dict([bf_score])


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


def _mean(scores: Sequence[Score], key: Key, decimals: int) -> str:
    values = [score.value for score in scores if (score.metric, score.convention) == key]
    defined = [value for value in values if value is not None]
    if not defined:
        return UNDEFINED
    undefined = len(values) - len(defined)
    shown = f"{sum(defined) / len(defined):.{decimals}f}"
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
