"""The metric audit as tables: every score under every damage, organ by organ, and organs that failed by themselves."""

from __future__ import annotations

import polars as pl

from steelyard.labels import Organ
from steelyard.report.metric_audit_words import LABELS, done_damages, full_title, least_rows, mean_rows, shown_drop
from steelyard.report.table import Cell, Header, Row, Section, Table
from steelyard.study.metric_audit import AuditRow, MetricAudit

WORST_COUNT = 5
WORST_METRICS = {
    ("iou", "counts"): "IoU",
    ("roc_auc", "score_sweep"): "ROC AUC",
    ("accuracy", "counts"): "accuracy",
    ("specificity", "counts"): "specificity",
    ("pr_auc", "score_sweep"): "PR AUC",
}


def damage_tables(audit: MetricAudit) -> tuple[Table, ...]:
    """One table per damage, the largest drop first, scores without a value last; distances in a section apart."""
    sentences = {damage.name: damage.sentence for damage in audit.damages}
    return tuple(_damage_table(audit, damage, sentences[damage]) for damage in done_damages(audit))


def worst_table(scores: pl.DataFrame | None, organs: tuple[Organ, ...]) -> Table | None:
    """The organs that the predictions themselves got most wrong, from the study's own scores; None without any."""
    if scores is None:
        return None
    named = {organ.name: organ.title for organ in organs}
    wide = scores.filter(pl.col("organ").is_in(list(named))).with_columns(
        pl.concat_list("metric", "convention").list.join("/").alias("measure")
    )
    wide = wide.pivot(on="measure", index=["case_id", "run", "organ"], values="value")
    measures = {f"{metric}/{convention}": title for (metric, convention), title in WORST_METRICS.items()}
    if not set(measures) <= set(wide.columns):
        return None
    worst = wide.drop_nulls("iou/counts").sort("iou/counts", "case_id", "organ").head(WORST_COUNT)
    rows = [
        Row(
            Header(f"{row['case_id']}, {named[row['organ']]}"),
            tuple(Cell(row[measure]) for measure in measures),
        )
        for row in worst.iter_rows(named=True)
    ]
    return Table(
        "worst",
        f"The {len(rows)} lowest IoU of an organ among all {scores['case_id'].n_unique()} held-out cases, undamaged, "
        "with the areas under the curves that were measured from the probabilities when the cases were scored.",
        "case and organ",
        tuple(map(Header, measures.values())),
        (Section("", tuple(rows)),),
    )


def _damage_table(audit: MetricAudit, damage: str, sentence: str) -> Table:
    organs = [organ for organ in audit.label_set.organs if _of_organ(audit, damage, organ)]
    by_key = {organ.name: _of_organ(audit, damage, organ) for organ in organs}
    least = {_key(row): row for row in least_rows(audit, damage)}
    means = sorted(mean_rows(audit, damage), key=lambda row: -(shown_drop(least[_key(row)]) or 0.0))
    means.sort(key=lambda row: shown_drop(least[_key(row)]) is None)
    sections = [
        Section(
            title,
            tuple(
                _row(row, least[_key(row)], [by_key[organ.name][_key(row)] for organ in organs])
                for row in means
                if (row.unit == "mm") == in_mm
            ),
        )
        for title, in_mm in (("drop as a share of the score's range", False), ("drop in mm", True))
    ]
    count = max(row.cases for own in by_key.values() for row in own.values())
    cases = f"{count} case{'s' if count > 1 else ''}"
    return Table(
        f"damage-{damage}",
        f"{damage[0].upper()}{damage[1:]}: {sentence}. Before and after in the score's own unit, means over organs and "
        f"{cases}; then the drop, positive when the score got worse: the least of the organs' with its verdict, and "
        "each organ's own when it is the damaged one.",
        "score",
        (Header("before"), Header("after"), Header("least drop"), *(Header(organ.title) for organ in organs)),
        tuple(sections),
    )


def _row(mean: AuditRow, least: AuditRow, of_organs: list[AuditRow]) -> Row:
    decimals = 1 if mean.unit == "mm" else 3
    own = 3 if mean.unit == "1" else 1
    return Row(
        Header(full_title(mean)),
        (
            Cell(mean.before, own),
            Cell(mean.after, own),
            Cell(shown_drop(least), decimals, note=least.verdict if least.drop is not None else LABELS["undefined"]),
            *(Cell(shown_drop(row), decimals, undefined=row.lost) for row in of_organs),
        ),
    )


def _of_organ(audit: MetricAudit, damage: str, organ: Organ) -> dict[tuple[str, str, str], AuditRow]:
    return {
        _key(row): row
        for row in audit.rows
        if row.damage == damage and row.organ == organ.name and row.over == "mean of cases"
    }


def _key(row: AuditRow) -> tuple[str, str, str]:
    return row.scope, row.metric, row.convention
