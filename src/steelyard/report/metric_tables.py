"""All other metrics per organ, as means over patients, with lost and invented organs and undefined values counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from steelyard.metrics import METRICS
from steelyard.metrics.metric import Better
from steelyard.report.comparison import Comparison, notes
from steelyard.report.means import over_patients
from steelyard.report.table import Header, Row, Section, Table


@dataclass(frozen=True)
class Shown:
    """How a metric is printed."""

    title: str
    decimals: int = 3


MAIN = {
    "dice": Shown("Dice"),
    "sensitivity": Shown("sensitivity"),
    "precision": Shown("precision"),
    "hd95_mm": Shown("HD95 (mm)", 1),
    "assd_mm": Shown("ASSD (mm)", 2),
    "ravd": Shown("RAVD (%)", 1),
    "volume_error_ml": Shown("volume error (ml)", 1),
    "bf_score": Shown("BF score"),
}
FURTHER = {
    "mssd_mm": Shown("MSSD (mm)", 1),
    "specificity": Shown("specificity", 4),
    "false_positive_rate": Shown("false-positive rate", 4),
    "accuracy": Shown("accuracy", 4),
    "roc_auc": Shown("ROC AUC", 4),
    "pr_auc": Shown("PR AUC"),
    "chaos_score": Shown("CHAOS score (0–100)", 1),
    "chaos_dice_score": Shown("CHAOS score of Dice", 1),
    "chaos_ravd_score": Shown("CHAOS score of RAVD", 1),
    "chaos_assd_score": Shown("CHAOS score of ASSD", 1),
    "chaos_mssd_score": Shown("CHAOS score of MSSD", 1),
}
IN_OTHER_TABLES = {"iou"}
UNDEFINED_NOTE = (
    "undefined: the number of cases without a value, left out of the mean; where it differs between losses, none is "
    "marked. A missed organ has no precision and, under the matlab convention, no BF score: there, losing an organ "
    "raises the mean."
)


def titled(metric: str) -> Shown:
    """How a metric is printed, also one that this page has no title for."""
    return ({"iou": Shown("IoU")} | MAIN | FURTHER).get(metric, Shown(metric.replace("_", " ")))


def metric_table(comparison: Comparison) -> Table:
    """The metrics that most readers ask for, below the counts of missed and invented organs."""
    cases = _cases(comparison)
    counted = (
        ("predictions that miss the organ", "missed"),
        ("predictions that invent the organ", "invented"),
    )
    ious = cases.filter(pl.col("metric") == "iou")
    lost = [
        Section(
            title,
            tuple(
                Row(
                    Header(organ.title),
                    comparison.linked(comparison.count(ious, organ=organ.name, status=status), organ.name),
                )
                for organ in comparison.study.label_set.organs
            ),
        )
        for title, status in counted
    ]
    return _table(comparison, "metrics", "Metrics", (*lost, *_sections(comparison, cases, MAIN)))


def further_metric_table(comparison: Comparison) -> Table:
    """All the rest, also metrics that this page has no title for."""
    cases = _cases(comparison)
    unknown = sorted(set(cases["metric"]) - set(MAIN) - set(FURTHER) - IN_OTHER_TABLES)
    return _table(comparison, "metrics-further", "Further metrics", _sections(comparison, cases, [*FURTHER, *unknown]))


def _sections(comparison: Comparison, cases: pl.DataFrame, metrics: Iterable[str]) -> tuple[Section, ...]:
    means = over_patients(cases)
    sections = []
    for metric in metrics:
        shown = titled(metric)
        for convention in sorted(means.filter(pl.col("metric") == metric)["convention"].unique()):
            better, rows = _better(metric, convention), []
            for organ in comparison.study.label_set.organs:
                key = {"organ": organ.name, "metric": metric, "convention": convention}
                values, counts = comparison.values(means, **key), comparison.undefined(means, **key)
                cells = comparison.marked(values, counts, decimals=shown.decimals, better=better)
                rows.append(Row(Header(organ.title), comparison.linked(cells, organ.name)))
            sections.append(Section(f"{shown.title}, {convention}", tuple(rows)))
    return tuple(sections)


def _table(comparison: Comparison, name: str, title: str, sections: tuple[Section, ...]) -> Table:
    return Table(
        comparison.named(name),
        f"{title} per organ{comparison.of_title}: mean over patients, each patient once; {comparison.extent}. "
        "The convention follows the metric's name.",
        "metric",
        comparison.headers,
        sections,
        (UNDEFINED_NOTE, *notes(comparison.study, "row")),
    )


def _cases(comparison: Comparison) -> pl.DataFrame:
    return comparison.scores.filter(pl.col("case_id").is_not_null() & pl.col("organ").is_not_null())


def _better(metric: str, convention: str) -> Better:
    """The metric's good direction; `nearer_zero`, which marks nothing, for one that is not registered here."""
    registered = (METRICS[name] for name in METRICS)
    return next((m.better for m in registered if (m.name, m.convention) == (metric, convention)), "nearer_zero")
