"""One page that holds a whole study: opens offline, needs no script, and says what it does not show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from steelyard.report import charts, overlays, tables, wording
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
    kinds = _tables(study)
    page = render(study, kinds)
    target = study_folder / FOLDER
    written = set()
    for table in (table for found in kinds.values() for table in found):
        for suffix, write in WRITERS.items():
            path = target / "tables" / f"{table.name}.{suffix}"
            _write(path, write(table))
            written.add(path)
    for path in set((target / "tables").iterdir()) - written:  # of an earlier report on other networks
        path.unlink()
    _write(target / "index.html", page)
    return target / "index.html"


def render(study: Study, kinds: dict[str, list[Table]]) -> str:
    """The page's HTML."""
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
    parts = [
        {
            "title": tables.group_title(study, group),
            "organ_table": organ_table,
            "summary_table": summary_table,
            "patient_table": patient_table,
            "metric_table": metric_table,
            "dots": charts.patient_charts(study, group),
            "losses": charts.loss_charts(study, group),
            "ious": charts.iou_charts(study, group),
        }
        for group, organ_table, summary_table, patient_table, metric_table in zip(
            study.groups, kinds["organs"], kinds["summaries"], kinds["patients"], kinds["metrics"], strict=True
        )
    ]
    return environment.get_template("page.html.j2").render(
        study=study,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        what=wording.what_was_run(study),
        short=wording.in_short(study, kinds["organs"]),
        warnings=wording.warnings(study),
        global_table=kinds["global"][0],
        parts=parts,
        styles=charts.loss_styles(study),
        shown=shown,
        figures=figures,
        organs=[(organ, hex_colour(organ.colour)) for organ in study.label_set.organs],
        manifests=[(run, wording.manifest(run)) for run in study.runs],
    )


def _tables(study: Study) -> dict[str, list[Table]]:
    return {
        "global": [tables.global_table(study)],
        "organs": [tables.organ_table(study, group) for group in study.groups],
        "summaries": [tables.summary_table(study, group) for group in study.groups],
        "patients": [tables.patient_table(study, group) for group in study.groups],
        "metrics": [tables.metric_table(study, group) for group in study.groups],
    }


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
