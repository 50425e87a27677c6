"""The verb that questions the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from steelyard.cli.app import console


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
