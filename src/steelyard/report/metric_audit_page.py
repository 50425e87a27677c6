"""A page that shows which metrics fail to reveal a failed organ, on a study's or anybody's predictions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from steelyard.labels import LabelSet
from steelyard.report.metric_audit_charts import audit_maps, verdict_key
from steelyard.report.metric_audit_source import AuditSource, folder_source, study_source
from steelyard.report.metric_audit_tables import damage_tables, worst_table
from steelyard.report.metric_audit_words import done_damages, findings, headline, skips
from steelyard.report.template import render
from steelyard.runstore import write_atomically, write_json
from steelyard.study.metric_audit import LIMITS, MetricAudit, audit_metrics

FOLDER = "metric-audit"
DEFAULT_CASES = 5  # a few seconds each on one core


def audit_metrics_of_study(
    study_folder: Path, *, cases: int = DEFAULT_CASES, run: str | None = None, out: Path | None = None
) -> Path:
    """Audit every metric on predictions of a study; returns the page, `<study>/metric-audit/index.html`.

    Args:
        cases: at most so many, evenly spaced in the order of their names.
        run: predictions of this run alone; without it of the network and loss with the highest average IoU.
        out: another folder for the page and its tables, `metric-audit.csv` and `.json`.

    Raises:
        BadData: no finished multiclass run has predictions. BadSpec: no such run, or no case wanted.
    """
    return _write(study_source(study_folder, cases=cases, run=run), out or study_folder / FOLDER)


def audit_metrics_of_folders(
    reference: Path,
    prediction: Path,
    *,
    cases: int = DEFAULT_CASES,
    out: Path = Path(FOLDER),
    dicom: Path | None = None,
    labels: LabelSet | None = None,
) -> Path:
    """Audit every metric on label maps in two folders (or two files) of equal names; returns the page in `out`.

    `dicom` and `labels` are those of `steelyard.evaluate.evaluate_paths`, and so are the errors.
    """
    return _write(folder_source(reference, prediction, cases=cases, dicom=dicom, labels=labels), out)


def _write(source: AuditSource, out: Path) -> Path:
    audit = audit_metrics(source.cases())
    page = out / "index.html"
    html = audit_page(source, audit)
    csv = audit.frame.write_csv()
    write_atomically(out / "metric-audit.csv", lambda temporary: temporary.write_text(csv, encoding="utf-8"))
    write_json(out / "metric-audit.json", _as_json(source, audit))
    write_atomically(page, lambda temporary: temporary.write_text(html, encoding="utf-8"))
    return page


def audit_page(source: AuditSource, audit: MetricAudit) -> str:
    """The page's HTML."""
    sentences = {damage.name: damage.sentence for damage in audit.damages}
    return render(
        "metric_audit.html.j2",
        title=source.title,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        headline=headline(audit),
        findings=findings(audit),
        maps=audit_maps(audit),
        key=verdict_key(),
        limits=LIMITS,
        worst=worst_table(source.scores, audit.label_set.organs),
        tables=damage_tables(audit),
        sentence=source.sentence,
        case_ids=audit.case_ids,
        organs=[organ.title for organ in audit.label_set.organs],
        damages=[(name, sentences[name]) for name in done_damages(audit)],
        skipped=skips(audit.skipped),
        has_scores=source.scores is not None,
    )


def _as_json(source: AuditSource, audit: MetricAudit) -> dict[str, object]:
    return {
        "title": source.title,
        "cases": list(audit.case_ids),
        "damages": {damage.name: damage.sentence for damage in audit.damages},
        "limits": {unit: {"hardly moves below": low, "reveals from": high} for unit, (low, high) in LIMITS.items()},
        "rows": [asdict(row) for row in audit.rows],
        "skipped": [asdict(skip) for skip in audit.skipped],
    }
