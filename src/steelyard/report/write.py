"""One page that holds a whole study: opens offline, needs no script, and says what it does not show."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from steelyard.report import charts, metric_tables, overlays, paired_points, plane, tables, wording
from steelyard.report.beside_section import Beside, beside_section
from steelyard.report.case_pages import case_sections
from steelyard.report.comparison import Comparison, comparisons
from steelyard.report.crf_section import CrfSection, crf_section
from steelyard.report.forest import forest
from steelyard.report.gradient_charts import kind_charts, organ_charts
from steelyard.report.gradient_shares import balance_sentence, gradient_table, lacking_sentence
from steelyard.report.links import ALL_ORGANS, CASES_FOLDER, PAIRED, cases_page
from steelyard.report.missed_table import missed_table
from steelyard.report.random_slices import random_slices
from steelyard.report.read import Study, read_study
from steelyard.report.statistics import read_declaration, read_reason, read_statistics
from steelyard.report.statistics_tables import difference_table, organ_rank_table, rank_table
from steelyard.report.table import Table
from steelyard.report.table_files import WRITERS
from steelyard.report.tasks_table import tasks_tables
from steelyard.report.template import render
from steelyard.report.unfinished import baseline_in_short, unfinished
from steelyard.report.verdicts import verdict_sentence
from steelyard.report.viewer_page import Viewer, viewer_beside
from steelyard.runstore import write_atomically
from steelyard.study.gradient_kinds import KINDS
from steelyard.views.slices import hex_colour

FOLDER = "report"
MOST_PATIENTS_UNFOLDED = 20


def write_report(study_folder: Path, *, beside: Path | None = None) -> Path:
    """Write `<study>/report/index.html`, its tables as `tables/*.csv|.md|.tex` and `cases/*.html`; returns the page.

    With them goes `viewer.html`, on which the cases can be looked at, save of a large study, for which it costs much.

    Each file is written beside its place and renamed, the page last, so that a reader never sees half of one.
    Runs without DONE are named on the page and enter no number. `beside` is the folder of another study, to be put
    beside this one; `<study>/beside.parquet` must hold their paired differences. Raises BadData when a study or that
    file cannot be read.
    """
    study = read_study(study_folder)
    two = beside_section(study, read_study(beside)) if beside is not None else None
    crf = crf_section(study, list(comparisons(study)))
    parts = [_tables(comparison) for comparison in comparisons(study)]
    whole, tasks = tables.global_table(study), tasks_tables(study)
    of_networks = (table for part in parts for table in part.values())
    of_sections = (table for section in (two, crf) if section is not None for table in section.tables)
    found = [t for t in (whole, *tasks, *of_sections, *of_networks) if t is not None]
    target = study_folder / FOLDER
    viewer = viewer_beside(study)
    page = _page(study, whole, tasks, parts, two, crf, viewer)
    _write_all(
        target / "tables", {f"{table.name}.{kind}": write(table) for table in found for kind, write in WRITERS.items()}
    )
    _write_all(target / CASES_FOLDER, _case_pages(study, viewer))
    _write(target / "index.html", page)
    return target / "index.html"


def _page(
    study: Study,
    whole: Table | None,
    tasks: tuple[Table, ...],
    parts: list[dict[str, Table | None]],
    two: Beside | None,
    crf: CrfSection | None,
    viewer: Viewer,
) -> str:
    shown = overlays.shown_condition(study)
    figures = [
        (organ, [overlays.draw(study, pick) for pick in overlays.pick_cases(study, shown, organ)])
        for organ in study.label_set.organs
        if shown
    ]
    charted = [part | _charts(comparison) for part, comparison in zip(parts, comparisons(study), strict=True)]
    return render(
        "page.html.j2",
        study=study,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        what=wording.what_was_run(study),
        short=[*wording.in_short(study), *(two.sentences if two else ())],
        beside=two,
        crf=crf,
        viewer=viewer,
        reason=read_reason(study),
        declaration=read_declaration(study),
        warnings=wording.warnings(study),
        unfinished=unfinished(study),
        global_table=whole,
        tasks_tables=tasks,
        parts=charted,
        gradient_recorded=any(part["gradient_kinds"] for part in charted),
        kinds=KINDS,
        styles=charts.loss_styles(study),
        shown=shown,
        figures=figures,
        lot=random_slices(study, shown) if shown else None,
        organs=[(organ, hex_colour(organ.colour)) for organ in study.label_set.organs],
        manifests=[(run, wording.manifest(run)) for run in study.runs],
    )


def _case_pages(study: Study, viewer: Viewer) -> dict[str, str]:
    return {
        cases_page(study, condition): render(
            "cases.html.j2",
            study=study,
            condition=condition,
            sections=case_sections(comparison, condition, viewer),
            viewer=viewer,
            all_organs=ALL_ORGANS,
            paired=PAIRED,
        )
        for comparison in comparisons(study)
        for condition in comparison.conditions
        if condition.done
    }


def _tables(comparison: Comparison) -> dict[str, Table | None]:
    statistics = read_statistics(comparison)
    return {
        "difference_table": difference_table(statistics) if statistics else None,
        "rank_table": rank_table(statistics) if statistics else None,
        "organ_rank_table": organ_rank_table(statistics) if statistics else None,
        "missed_table": missed_table(comparison),
        "organ_table": tables.organ_table(comparison),
        "summary_table": tables.summary_table(comparison),
        "patient_table": tables.patient_table(comparison),
        "metric_table": metric_tables.metric_table(comparison),
        "further_table": metric_tables.further_metric_table(comparison),
        "gradient_table": gradient_table(comparison),
    }


def _charts(comparison: Comparison) -> dict[str, Any]:
    statistics = read_statistics(comparison)
    return {
        "statistics": statistics,
        "baseline_lacks": baseline_in_short(comparison),
        "verdict": verdict_sentence(statistics) if statistics and statistics.family else "",
        "forest": forest(statistics) if statistics else "",
        "pairs": paired_points.paired_charts(statistics) if statistics else (),
        "planes": plane.planes(comparison),
        "fold_patients": comparison.scores["patient_id"].drop_nulls().n_unique() > MOST_PATIENTS_UNFOLDED,
        "dots": charts.patient_charts(comparison),
        "shortfalls": comparison.shortfalls,
        "group": (comparison.network, comparison.task),
        "losses": charts.loss_charts(comparison),
        "ious": charts.iou_charts(comparison),
        "gradient_kinds": kind_charts(comparison),
        "gradient_organs": organ_charts(comparison),
        "gradient_balance": balance_sentence(comparison),
        "gradient_lacking": lacking_sentence(comparison),
        "title": comparison.title,
    }


def _write_all(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        _write(folder / name, text)
    for path in folder.glob("[!.]*"):  # of an earlier report on other networks or losses
        if path.name not in texts:
            path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
