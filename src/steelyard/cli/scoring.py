"""Verbs that score label maps, and that question the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from steelyard.cli.app import app, console


@app.command(name="metric-audit")
def metric_audit(
    study: Path,
    prediction: Path | None = None,
    *,
    cases: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] = 5,
    out: Path | None = None,
) -> None:
    """Show which metrics fail to reveal a failed organ: damage predictions on purpose and see what each metric says.

    Parameters
    ----------
    study
        The study's TOML file; or a folder of reference label maps, when `prediction` is given.
    prediction
        A folder of predicted label maps with the references' file names.
    cases
        How many cases to damage.
    out
        Folder for the page and its tables; metric-audit in the study's folder, or here, when left out.
    """
    from steelyard.report.metric_audit_page import audit_metrics_of_folders, audit_metrics_of_study
    from steelyard.study.spec import read_spec

    if prediction is None:
        page = audit_metrics_of_study(read_spec(study).folder, cases=cases, out=out)
    else:
        page = audit_metrics_of_folders(study, prediction, cases=cases, out=out or Path("metric-audit"))
    console().print(f"metric audit: {page}", highlight=False, soft_wrap=True)


@app.command
def evaluate(
    reference: Path,
    prediction: Path,
    *,
    dicom: Path | None = None,
    convention: Literal["matlab", "chaos", "all"] = "all",
    labels: str | None = None,
    out: Path | None = None,
) -> None:
    """Score predictions against references: NIfTI files, folders of equal names, or folders of PNG masks.

    Parameters
    ----------
    reference
        The expert's label map, or a folder of them.
    prediction
        The label map to score, or a folder with the same file names.
    dicom
        The DICOM series that PNG masks belong to: gives them their place in millimetres.
    convention
        Whose definitions: MATLAB's, the CHAOS challenge's, or all.
    labels
        Which value is which organ, as liver=63,spleen=252; without it, CHAOS grey values are known by themselves and
        other values are named label_1, label_2, …
    out
        Also write every score to this file, .csv or .parquet.
    """
    from steelyard.evaluate import (
        check_ending,
        evaluate_paths,
        parse_labels,
        score_table,
        scores_frame,
        write_scores,
    )

    if out is not None:
        check_ending(out)
    label_set = None if labels is None else parse_labels(labels)
    evaluations = evaluate_paths(reference, prediction, dicom=dicom, conventions=[convention] if convention != 'all' else ['chaos', 'matlab'], labels=label_set)
    console().print(score_table(evaluations))
    if out is not None:
        write_scores(out, scores_frame(evaluations))
        console().print(f"scores: {out}", highlight=False, soft_wrap=True)
