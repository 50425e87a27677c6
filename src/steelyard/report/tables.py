"""The report's tables: the study's table 2 (global) and 3 (IoU per organ), patients one by one, and other metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from steelyard.metrics import METRICS
from steelyard.metrics.metric import Better
from steelyard.report.means import mean, of_patients, over_patients, pooled, ranks
from steelyard.report.read import BACKGROUND, Condition, Study
from steelyard.report.table import Cell, Header, Row, Section, Table

Group = tuple[str, str]
IOU = (pl.col("metric") == "iou") & (pl.col("convention") == "counts") & pl.col("organ").is_not_null()

GLOBAL_COLUMNS = {  # (metric, convention) → title
    ("accuracy", "matlab"): "accuracy",
    ("mean_sensitivity", "matlab"): "mean accuracy",
    ("weighted_accuracy", "matlab"): "weighted accuracy",
    ("mean_iou", "matlab"): "mean IoU",
    ("weighted_iou", "matlab"): "weighted IoU",
    ("mean_bf_score", "matlab"): "mean BF score",
    ("mean_bf_score", "missing_as_zero"): "mean BF score, missing as zero",
}


@dataclass(frozen=True)
class Shown:
    """How a metric is printed."""

    title: str
    decimals: int = 3


SHOWN = {
    "dice": Shown("Dice"),
    "sensitivity": Shown("sensitivity"),
    "precision": Shown("precision"),
    "hd95_mm": Shown("HD95 (mm)", 1),
    "assd_mm": Shown("ASSD (mm)", 2),
    "mssd_mm": Shown("MSSD (mm)", 1),
    "ravd": Shown("RAVD (%)", 1),
    "volume_error_ml": Shown("volume error (ml)", 1),
    "bf_score": Shown("BF score"),
    "specificity": Shown("specificity", 4),
    "false_positive_rate": Shown("false-positive rate", 4),
    "accuracy": Shown("accuracy", 4),
    "roc_auc": Shown("ROC AUC", 4),
    "pr_auc": Shown("PR AUC"),
    "chaos_score": Shown("CHAOS score (0–100)", 1),
}


def global_table(study: Study) -> Table:
    """The study's table 2: one row per loss, under its network; pooled over the held-out cases of each run."""
    means = pooled(study.scores.filter(pl.col("organ").is_null()))
    sections = []
    for group in study.groups:
        members = _members(study, group)
        ranked = _ranked(study, group)
        columns = [
            _marked([_value(means, c, metric=metric, convention=convention) for c in members], ranked)
            for metric, convention in GLOBAL_COLUMNS
        ]
        rows = (Row(_header(c), tuple(column[i] for column in columns)) for i, c in enumerate(members))
        sections.append(Section(group_title(study, group), tuple(rows)))
    return Table(
        "global",
        "Global metrics (convention matlab where none is named), background included, pooled over all held-out voxels "
        f"of a run; {_runs_and_cases(study)}.",
        "loss",
        tuple(map(Header, GLOBAL_COLUMNS.values())),
        tuple(sections),
        (
            "Mean accuracy is the mean sensitivity over classes. Weighted accuracy equals accuracy by its formula. "
            "The BF score leaves out a class that is in one of the two label maps only, so that losing an organ raises "
            "it; counted as zero there, it falls.",
            *_notes(study, "column"),
        ),
    )


def organ_table(study: Study, group: Group) -> Table:
    """The study's table 3: pooled IoU, organs × losses, both averages, ranks with ties averaged."""
    means = pooled(study.scores.filter(IOU))
    conditions = _members(study, group)
    values = {
        name: [_value(means, c, organ=name) for c in conditions]
        for name in study.label_set.class_names
        if name != BACKGROUND or not means.filter(pl.col("organ") == BACKGROUND).is_empty()
    }
    organs = [values[organ.name] for organ in study.label_set.organs]
    ranked = _ranked(study, group)
    rows = [Row(Header(_title(name)), _marked(found, ranked)) for name, found in values.items()]

    averages = []
    if BACKGROUND in values:
        with_background = [mean([values[BACKGROUND][i], *(o[i] for o in organs)]) for i in range(len(conditions))]
        averages.append(Row(Header("average with background"), _marked(with_background, ranked), summary=True))
    organ_average = [mean([organ[i] for organ in organs]) for i in range(len(conditions))]
    averages.append(Row(Header("average of organs"), _marked(organ_average, ranked), summary=True))
    places = _places(organ_average, ranked)
    averages.append(Row(Header("rank by average of organs"), _numbers(places, 1), summary=True))
    per_organ = [_places(organ, ranked) for organ in organs]
    mean_places = [mean([place[i] for place in per_organ]) for i in range(len(conditions))]
    averages.append(Row(Header("mean of the ranks per organ"), _numbers(mean_places, 2), summary=True))
    return Table(
        f"organs{_suffix(study, group)}",
        f"IoU per organ{_of(study, group)}, pooled over all held-out pixels of a run; {_runs_and_cases(study)}. "
        "Convention: voxel counts. Rank 1 is best, equal values share their places.",
        "organ",
        tuple(map(_header, conditions)),
        (Section("", tuple(rows)), Section("", tuple(averages))),
        _notes(study, "row"),
    )


def summary_table(study: Study, group: Group) -> Table:
    """Pooled IoU beside the mean over patients and the lowest patient: what pooling hides."""
    together, single = pooled(study.scores.filter(IOU)), over_patients(study.scores.filter(IOU))
    patients = of_patients(study.scores.filter(IOU))
    conditions = _members(study, group)
    ranked = _ranked(study, group)
    sections = []
    for organ in study.label_set.organs:
        alone = [_value(single, c, organ=organ.name) for c in conditions]
        counts = [_undefined(single, c, organ=organ.name) for c in conditions]
        rows = (
            Row(Header("pooled"), _marked([_value(together, c, organ=organ.name) for c in conditions], ranked)),
            Row(Header("mean over patients"), _marked(alone, ranked, counts)),
            Row(Header("lowest patient"), tuple(_lowest(patients, c, organ.name) for c in conditions)),
        )
        sections.append(Section(organ.title, rows))
    return Table(
        f"pooled-and-patients{_suffix(study, group)}",
        f"IoU pooled, and with each patient counted once{_of(study, group)}; {_runs_and_cases(study)}. A pooled value "
        f"hides a patient whose organ is lost. {_undefined_of(study)}",
        "IoU",
        tuple(map(_header, conditions)),
        tuple(sections),
        _notes(study, "row"),
    )


def patient_table(study: Study, group: Group) -> Table:
    """Every patient's IoU, per organ and loss."""
    patients = of_patients(study.scores.filter(IOU))
    conditions = _members(study, group)
    names = sorted(patients["patient_id"].drop_nulls().unique())
    sections = [
        Section(
            organ.title,
            tuple(
                Row(
                    Header(patient),
                    tuple(
                        Cell(
                            _value(patients, c, organ=organ.name, patient_id=patient),
                            undefined=_undefined(patients, c, organ=organ.name, patient_id=patient),
                        )
                        for c in conditions
                    ),
                )
                for patient in names
            ),
        )
        for organ in study.label_set.organs
    ]
    return Table(
        f"patients{_suffix(study, group)}",
        f"IoU of each patient{_of(study, group)}: the mean over the patient's held-out cases; "
        f"{_runs_and_cases(study)}. {_undefined_of(study)}",
        "patient",
        tuple(map(_header, conditions)),
        tuple(sections),
        _notes(study, None),
    )


def metric_table(study: Study, group: Group) -> Table:
    """All other per-organ metrics, means over patients, with lost and invented organs and undefined values counted."""
    cases = study.scores.filter(pl.col("case_id").is_not_null() & pl.col("organ").is_not_null())
    means = over_patients(cases)
    conditions = _members(study, group)
    ranked = _ranked(study, group)
    sections = [_status_section(study, cases, conditions, status) for status in ("missed", "invented")]
    present = set(means["metric"]) - {"iou"}
    order = [name for name in SHOWN if name in present] + sorted(present - set(SHOWN))
    for metric in order:
        shown = SHOWN.get(metric, Shown(metric.replace("_", " ")))
        for convention in _conventions(means, metric):
            better, rows = _better(metric, convention), []
            for organ in study.label_set.organs:
                key = {"organ": organ.name, "metric": metric, "convention": convention}
                values = [_value(means, c, **key) for c in conditions]
                counts = [_undefined(means, c, **key) for c in conditions]
                rows.append(
                    Row(Header(organ.title), _marked(values, ranked, counts, decimals=shown.decimals, better=better))
                )
            sections.append(Section(f"{shown.title}, {convention}", tuple(rows)))
    return Table(
        f"metrics{_suffix(study, group)}",
        f"Other metrics per organ{_of(study, group)}: mean over patients, each patient once; {_runs_and_cases(study)}. "
        "The convention follows the metric's name.",
        "metric",
        tuple(map(_header, conditions)),
        tuple(sections),
        (
            "undefined: the number of cases without a value, left out of the mean. A missed organ has no precision "
            "and, under the matlab convention, no BF score: there, losing an organ raises the mean.",
            *_notes(study, "row"),
        ),
    )


def group_title(study: Study, group: Group) -> str:
    """The network's name, with the task where the study has several."""
    network, task = group
    return network if len({task for _, task in study.groups}) == 1 else f"{network}, {task}"


def _members(study: Study, group: Group) -> list[Condition]:
    return [condition for condition in study.conditions if condition.group == group]


def _conventions(frame: pl.DataFrame, metric: str) -> list[str]:
    return sorted(frame.filter(pl.col("metric") == metric)["convention"].unique())


def _rows(frame: pl.DataFrame, condition: Condition, key: dict[str, str]) -> pl.DataFrame:
    wanted = {"network": condition.network, "task": condition.task, "loss": condition.loss, **key}
    return frame.filter(*(pl.col(column) == value for column, value in wanted.items()))


def _value(frame: pl.DataFrame, condition: Condition, **key: str) -> float | None:
    found = _rows(frame, condition, key)
    return None if found.is_empty() else found["value"].item()


def _undefined(frame: pl.DataFrame, condition: Condition, **key: str) -> int:
    found = _rows(frame, condition, key)
    return 0 if found.is_empty() else int(found["undefined"].item())


def _ranked(study: Study, group: Group) -> list[bool]:
    comparable = study.comparable(group)
    return [condition in comparable for condition in _members(study, group)]


def _marked(
    values: list[float | None],
    ranked: list[bool],
    undefined: list[int] | None = None,
    *,
    decimals: int = 3,
    better: Better = "higher",
) -> tuple[Cell, ...]:
    """Cells with the best of the ranked ones marked, several where they are equal, none where one stands alone.

    Of signed errors none is marked: their mean may be near zero although each is far from it.
    """
    sign = -1 if better == "lower" else 1
    places = _places([None if value is None else sign * value for value in values], ranked)
    known = [place for place in places if place is not None]
    marks = len(known) > 1 and better != "nearer_zero"
    return tuple(
        Cell(value, decimals, marks and place is not None and place == min(known), count)
        for value, place, count in zip(values, places, undefined or [0] * len(values), strict=True)
    )


def _places(values: list[float | None], ranked: list[bool]) -> list[float | None]:
    known = {str(i): value for i, value in enumerate(values) if ranked[i]}
    found = ranks(known)
    return [found.get(str(i)) for i in range(len(values))]


def _numbers(values: Iterable[float | None], decimals: int) -> tuple[Cell, ...]:
    return tuple(Cell(value, decimals) for value in values)


def _lowest(patients: pl.DataFrame, condition: Condition, organ: str) -> Cell:
    found = _rows(patients, condition, {"organ": organ}).drop_nulls("value").sort("value", "patient_id")
    return Cell(found["value"][0], note=found["patient_id"][0]) if len(found) else Cell()


def _status_section(study: Study, cases: pl.DataFrame, conditions: list[Condition], status: str) -> Section:
    one = cases.filter((pl.col("metric") == "iou") & (pl.col("status") == status))
    rows = [
        Row(
            Header(organ.title),
            tuple(Cell(float(len(_rows(one, c, {"organ": organ.name}))), 0) if c.done else Cell() for c in conditions),
        )
        for organ in study.label_set.organs
    ]
    title = "cases whose organ was missed" if status == "missed" else "cases with an invented organ"
    return Section(title, tuple(rows))


def _better(metric: str, convention: str) -> Better:
    """The metric's good direction; `nearer_zero`, which marks nothing, for one that is not registered here."""
    registered = (METRICS[name] for name in METRICS)
    return next((m.better for m in registered if (m.name, m.convention) == (metric, convention)), "nearer_zero")


def _header(condition: Condition) -> Header:
    return Header(condition.loss, _progress(condition))


def _progress(condition: Condition) -> str:
    if len(condition.done) == condition.planned:
        return ""
    return f"{len(condition.done)} of {condition.planned} runs finished" if condition.done else "no run finished"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _suffix(study: Study, group: Group) -> str:
    return "" if len(study.groups) == 1 else "-" + re.sub(r"[^\w.-]+", "-", group_title(study, group))


def _of(study: Study, group: Group) -> str:
    return "" if len(study.groups) == 1 else f" of {group_title(study, group)}"


def _runs_and_cases(study: Study) -> str:
    cases = study.scores.filter(pl.col("case_id").is_not_null())
    n_cases, n_patients = cases["case_id"].n_unique(), cases["patient_id"].n_unique()
    many = len({(run.fold, run.seed) for run in study.done}) > 1
    means = ", then the mean over runs" if many else ""
    return f"{n_cases} cases of {n_patients} patients, {len(study.done)} finished runs{means}"


def _undefined_of(study: Study) -> str:
    organs = study.scores.filter(IOU & pl.col("case_id").is_not_null())
    return f"Convention: voxel counts; {organs['value'].null_count()} of {len(organs)} values are undefined."


def _notes(study: Study, along: str | None) -> tuple[str, ...]:
    notes = []
    if along and any(len(study.comparable(group)) > 1 for group in study.groups):
        scope = " of its network" if along == "column" and len(study.groups) > 1 else ""
        notes.append(f"Bold and underlined: best in its {along}{scope}; no test stands behind it.")
    if any(_progress(condition) for condition in study.conditions):
        notes.append(
            "†: planned runs are missing; ranked only beside losses that were finished on the same folds and seeds."
        )
    return tuple(notes)
