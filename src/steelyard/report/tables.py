"""The main tables: the study's table 2 (global) and 3 (IoU per organ), and IoU patient by patient."""

from __future__ import annotations

import polars as pl

from steelyard.report.comparison import IOU, Comparison, comparisons, extent, notes
from steelyard.report.means import mean, of_patients, over_patients, pooled
from steelyard.report.read import BACKGROUND, UNICLASS, Study
from steelyard.report.table import Cell, Header, Row, Section, Table

GLOBAL_COLUMNS = {  # (metric, convention) → title
    ("accuracy", "matlab"): "accuracy",
    ("mean_sensitivity", "matlab"): "mean accuracy",
    ("weighted_accuracy", "matlab"): "weighted accuracy",
    ("mean_iou", "matlab"): "mean IoU",
    ("weighted_iou", "matlab"): "weighted IoU",
    ("mean_bf_score", "matlab"): "mean BF score",
    ("mean_bf_score", "missing_as_zero"): "mean BF score, missing as zero",
}


def global_table(study: Study) -> Table | None:
    """The study's table 2: one row per loss, under its network; pooled over the held-out cases of each run.

    Networks that find one organ each have no number over all classes; None where there are no others.
    """
    sections = []
    for comparison in comparisons(study):
        if not comparison.has_background:
            continue
        means = pooled(comparison.scores.filter(pl.col("organ").is_null()))
        columns = [
            comparison.linked(comparison.marked(comparison.values(means, metric=metric, convention=convention)))
            for metric, convention in GLOBAL_COLUMNS
        ]
        rows = tuple(map(Row, comparison.headers, zip(*columns, strict=True)))
        sections.append(Section(comparison.title, rows))
    if not sections:
        return None
    whole = study.scores.filter(pl.col("task") != UNICLASS)
    return Table(
        "global",
        "Global metrics (convention matlab where none is named), background included, pooled over all held-out voxels "
        f"of a run; {extent(whole, tuple(run for run in study.done if run.task != UNICLASS))}.",
        "loss",
        tuple(map(Header, GLOBAL_COLUMNS.values())),
        tuple(sections),
        (
            "Mean accuracy is the mean sensitivity over classes. Weighted accuracy equals accuracy by its formula. "
            "The BF score leaves out a class that is in one of the two label maps only, so that losing an organ raises "
            "it; counted as zero there, it falls.",
            *notes(study, "column"),
        ),
    )


def organ_table(comparison: Comparison) -> Table:
    """The study's table 3: pooled IoU, organs × losses, both averages, ranks with ties averaged.

    Networks that find one organ each have no background, and so no average with it.
    """
    means = pooled(comparison.scores.filter(IOU))
    organs = [comparison.values(means, organ=organ.name) for organ in comparison.study.label_set.organs]
    background = comparison.values(means, organ=BACKGROUND)
    rows = [Row(Header(BACKGROUND), comparison.linked(comparison.marked(background)))]
    rows += [
        Row(Header(organ.title), comparison.linked(comparison.marked(values), organ.name))
        for organ, values in zip(comparison.study.label_set.organs, organs, strict=True)
    ]

    organ_average = _average(organs)
    mean_places = _average([comparison.places(values) for values in organs])
    summary = [
        ("average with background", comparison.marked(_average([background, *organs]))),
        ("average of organs", comparison.marked(organ_average)),
        ("rank by average of organs", tuple(Cell(place, 1) for place in comparison.places(organ_average))),
        ("mean of the ranks per organ", tuple(Cell(place, 2) for place in mean_places)),
    ]
    if not comparison.has_background:
        rows, summary = rows[1:], summary[1:]
    return Table(
        comparison.named("organs"),
        f"IoU per organ{comparison.of_title}, pooled over all held-out voxels of a run; {comparison.extent}. "
        "Convention: voxel counts. Rank 1 is best, equal values share their places.",
        "organ",
        comparison.headers,
        (
            Section("", tuple(rows)),
            Section("", tuple(Row(Header(label), comparison.linked(cells), True) for label, cells in summary)),
        ),
        notes(comparison.study, "row"),
    )


def summary_table(comparison: Comparison) -> Table:
    """Pooled IoU beside the mean over patients and the lowest patient: what pooling hides."""
    scores = comparison.scores.filter(IOU)
    together, single, patients = pooled(scores), over_patients(scores), of_patients(scores)
    sections = []
    for organ in comparison.study.label_set.organs:
        key = {"organ": organ.name}
        alone = comparison.marked(comparison.values(single, **key), comparison.undefined(single, **key))
        rows = (
            ("pooled", comparison.marked(comparison.values(together, **key))),
            ("mean over patients", alone),
            ("lowest patient", comparison.lowest(patients, **key)),
        )
        linked = tuple(Row(Header(label), comparison.linked(cells, organ.name)) for label, cells in rows)
        sections.append(Section(organ.title, linked))
    return Table(
        comparison.named("pooled-and-patients"),
        f"IoU pooled, and with each patient counted once{comparison.of_title}; {comparison.extent}. "
        f"A pooled value hides a patient whose organ is lost. {_undefined_cases(comparison)}",
        "IoU",
        comparison.headers,
        tuple(sections),
        notes(comparison.study, "row"),
    )


def patient_table(comparison: Comparison) -> Table:
    """Every patient's IoU, per organ and loss."""
    patients = of_patients(comparison.scores.filter(IOU))
    sections = []
    for organ in comparison.study.label_set.organs:
        rows = []
        for patient in sorted(patients["patient_id"].drop_nulls().unique()):
            key = {"organ": organ.name, "patient_id": patient}
            pairs = zip(comparison.values(patients, **key), comparison.undefined(patients, **key), strict=True)
            cells = tuple(Cell(value, undefined=count) for value, count in pairs)
            rows.append(Row(Header(patient), comparison.linked(cells, organ.name)))
        sections.append(Section(organ.title, tuple(rows)))
    return Table(
        comparison.named("patients"),
        f"IoU of each patient{comparison.of_title}: the mean over the patient's held-out cases and seeds; "
        f"{comparison.extent}. {_undefined_cases(comparison)}",
        "patient",
        comparison.headers,
        tuple(sections),
        notes(comparison.study, None),
    )


def _average(rows: list[list[float | None]]) -> list[float | None]:
    """Down the columns of a table; undefined where one of the values is."""
    return [mean(list(column)) for column in zip(*rows, strict=True)]


def _undefined_cases(comparison: Comparison) -> str:
    cases = comparison.scores.filter(IOU & pl.col("case_id").is_not_null())
    return f"Convention: voxel counts; {cases['value'].null_count()} of {len(cases)} values are undefined."
