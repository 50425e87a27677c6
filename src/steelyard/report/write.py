"""One page that holds a whole study: opens offline, needs no script, and says what it does not show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from steelyard.report import charts, metric_tables, overlays, tables, wording
from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.read import Study, read_study
from steelyard.report.table import Table
from steelyard.report.table_files import WRITERS
from steelyard.runstore import write_atomically
from steelyard.views.slices import hex_colour

FOLDER = "report"


def write_report(study_folder: Path) -> Path:
    """Write `<study>/report/index.html` and `<study>/report/tables/*.csv|.md|.tex`; returns the page's path.

    Each file is written beside its place and renamed, the page last, so that a reader never sees half of one.
    Runs without DONE are named in the warnings and enter no number. Raises BadData when the study cannot be read.
    """
    study = read_study(study_folder)
    parts = [_tables(comparison) for comparison in comparisons(study)]
    whole = tables.global_table(study)
    page = render(study, whole, parts)
    target = study_folder / FOLDER
    written = set()
    for table in (whole, *(table for part in parts for table in part.values())):
        for suffix, write in WRITERS.items():
            path = target / "tables" / f"{table.name}.{suffix}"
            _write(path, write(table))
            written.add(path)
    for path in set((target / "tables").glob("[!.]*")) - written:  # of an earlier report on other networks
        path.unlink(missing_ok=True)
    _write(target / "index.html", page)
    return target / "index.html"


def render(study: Study, whole: Table, parts: list[dict[str, Table]]) -> str:
    """The page's HTML, from the study, its global table and the tables of each network."""
    environment = Environment(
        loader=PackageLoader("steelyard.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    shown = overlays.shown_condition(study)
    figures = [
        (organ, [overlays.draw(study, pick) for pick in overlays.pick_cases(study, shown, organ)])
        for organ in study.label_set.organs
        if shown
    ]
    return environment.get_template("page.html.j2").render(
        study=study,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        what=wording.what_was_run(study),
        short=wording.in_short(study),
        warnings=wording.warnings(study),
        global_table=whole,
        parts=[
            part | _charts(comparison) | {"title": comparison.title}
            for part, comparison in zip(parts, comparisons(study), strict=True)
        ],
        styles=charts.loss_styles(study),
        shown=shown,
        figures=figures,
        organs=[(organ, hex_colour(organ.colour)) for organ in study.label_set.organs],
        manifests=[(run, wording.manifest(run)) for run in study.runs],
    )


def _tables(comparison: Comparison) -> dict[str, Table]:
    return {
        "organ_table": tables.organ_table(comparison),
        "summary_table": tables.summary_table(comparison),
        "patient_table": tables.patient_table(comparison),
        "metric_table": metric_tables.metric_table(comparison),
        "further_table": metric_tables.further_metric_table(comparison),
    }


def _charts(comparison: Comparison) -> dict[str, tuple[charts.Chart, ...]]:
    return {
        "dots": charts.patient_charts(comparison),
        "losses": charts.loss_charts(comparison),
        "ious": charts.iou_charts(comparison),
    }


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
