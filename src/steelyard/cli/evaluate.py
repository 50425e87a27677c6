"""The verb that scores label maps of any tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from steelyard.cli.app import console

if TYPE_CHECKING:
    from steelyard.evaluate import Evaluated

FEW = 8  # names in a sentence


def evaluate(
    reference: Path,
    prediction: Path,
    *,
    labels: str | None = None,
    convention: Annotated[
        list[Literal["chaos", "matlab", "monai", "deepmind", "all"]] | None, Parameter(negative="")
    ] = None,
    why: Annotated[bool, Parameter(negative="")] = False,
    points: Annotated[bool, Parameter(negative="")] = False,
    dicom: Path | None = None,
    allow_missing: Annotated[bool, Parameter(negative="")] = False,
    workers: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] | None = None,
    out: Path | None = None,
) -> None:
    """Score predictions of any tool against references: NIfTI, nnU-Net and TotalSegmentator folders, DICOM SEG, PNG.

    Parameters
    ----------
    reference
        The expert's label map, or a folder of them.
    prediction
        The label map to score, or a folder with cases of the same names.
    labels
        Which value is which organ, as liver=63,spleen=252, or a .toml file with tables [organs] and [prediction];
        without it, names in the files count, and CHAOS grey values are known by themselves.
    convention
        Whose definitions: chaos, matlab, monai, deepmind, or all; may be given several times. chaos and matlab when
        left out.
    why
        Also show why tools differ on the surface distances of these masks: one ingredient changed at a time.
    points
        Also show the points of the CHAOS challenge, and their total per case and for the task.
    dicom
        The DICOM series that PNG masks belong to, which gives them their place in millimetres; and DICOM SEG files.
    allow_missing
        Score the cases that both folders have, and name the others, instead of refusing them.
    workers
        How many cases at a time; as many as there are cores when left out.
    out
        Also write every score to this file, .csv or .parquet; with --why its steps go to a second file beside it.
    """
    from steelyard.errors import BadData
    from steelyard.evaluate import (
        ALL_CONVENTIONS,
        OF_STUDIES,
        check_ending,
        convention_table,
        evaluate_many,
        evaluated_frame,
        find_cases,
        points_table,
        read_labels,
        rule_table,
        score_table,
        why_frame,
        why_table,
        write_scores,
    )

    if out is not None:
        check_ending(out)
    choice = None if labels is None else read_labels(labels)
    wanted = set(convention or OF_STUDIES) | ({"chaos"} if points else set())
    found = find_cases(reference, prediction, dicom=dicom, allow_missing=allow_missing)
    with _progress() as progress:
        evaluated = evaluate_many(
            found,
            choice,
            conventions=[name for name in ALL_CONVENTIONS if name in wanted or "all" in wanted],
            why=why,
            workers=workers or _cores(),
            progress=progress,
        )
    if evaluated.cases:
        tables = [score_table(evaluated.cases), convention_table(evaluated.cases)]
        tables += [why_table(evaluated.explanations), rule_table()] if why else []
        tables += [points_table(evaluated.cases)] if points else []
        for table in tables:
            if table is not None:
                console().print(table)
    for line in _remarks(evaluated):
        console().print(line, highlight=False, soft_wrap=True)
    if out is not None and evaluated.cases:
        write_scores(out, evaluated_frame(evaluated, points=points))
        console().print(f"scores: {out}", highlight=False, soft_wrap=True)
        if why:
            steps = out.with_name(f"{out.stem}-why{out.suffix}")
            write_scores(steps, why_frame(evaluated.explanations))
            console().print(f"why: {steps}", highlight=False, soft_wrap=True)
    if evaluated.failures:
        lines, count = list(evaluated.failures.values()), len(found.masks)
        if count == 1:
            raise BadData(lines[0])
        for line in lines:
            print(line, file=sys.stderr)
        raise BadData(
            f"{len(evaluated.failures)} of {count} cases could not be scored; what is shown is of the other "
            f"{len(evaluated.cases)}. Mend these files and run again."
        )


def _remarks(evaluated: Evaluated) -> Iterator[str]:
    """What one must know to read the tables right: labels that differ, what is left out, cases that are not there."""
    table = evaluated.table
    rows = zip(table.label_set.organs, table.reference.keys, table.prediction.keys, strict=True)
    said = [(organ.title, " + ".join(map(str, own)), " + ".join(map(str, other))) for organ, own, other in rows]
    if any(own != other for _, own, other in said):
        yield (
            "Labels, reference | prediction: " + "; ".join(f"{name} {own} | {other}" for name, own, other in said) + "."
        )
    if table.left_out:
        yield f"Left out, without a counterpart: {_few(table.left_out)}."
    for cases, lacks in ((evaluated.without_prediction, "prediction"), (evaluated.without_reference, "reference")):
        if cases:
            yield f"Not scored: {len(cases)} without a {lacks} ({_few(cases)}); in no mean."


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FEW]) + f" and {len(names) - FEW} more" * (len(names) > FEW)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], Any]]:
    """A bar on the error stream where that is a terminal; else nothing."""
    if not sys.stderr.isatty():
        yield lambda what, done, count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, count: bar.update(task, description=what, completed=done, total=count)
