"""What the CRF changed: every held-out case decided by the same network without and with it, paired by patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from steelyard.records import read_object, read_table
from steelyard.report.comparison import Comparison
from steelyard.report.links import ALL_ORGANS, cases_link
from steelyard.report.metric_tables import titled
from steelyard.report.read import Condition, Study
from steelyard.report.statistics import Measure
from steelyard.report.table import Cell, Header, Row, Section, Table

DIFFERENCES, SUMMARY = "crf.parquet", "crf.json"
MAIN_METRIC = "iou"
CHANGES = (
    ("missed without", "missed_without"),
    ("missed with", "missed_with"),
    ("found by it", "missed_no_more"),
    ("lost by it", "missed_newly"),
    ("invented without", "invented_without"),
    ("invented with", "invented_with"),
    ("cleared by it", "invented_no_more"),
    ("invented by it", "invented_newly"),
)


@dataclass(frozen=True)
class CrfSection:
    """`sentences` say what was done, `lacking` what is not there; `parts` are those of each network and task."""

    sentences: tuple[str, ...]
    lacking: str
    parts: tuple[CrfPart, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for part in self.parts for table in (part.main, part.changes, part.others))


@dataclass(frozen=True)
class CrfPart:
    """One network and task: a sentence per loss, the main metric, organs missed or invented, and further metrics."""

    title: str
    sentences: tuple[str, ...]
    main: Table
    changes: Table
    others: Table


def crf_section(study: Study, found: list[Comparison]) -> CrfSection | None:
    """None where the study asks for no CRF.

    Raises:
        BadData: `crf.json` or `crf.parquet` is damaged.
    """
    if study.spec.get("crf") is None:
        return None
    if not (study.folder / SUMMARY).is_file():
        return CrfSection((), "No case was decided with the CRF yet. Run the study again.", ())
    summary, differences = _read(study)
    if summary["crf"] != study.spec["crf"]:
        return CrfSection((), "No case was decided with a CRF of these settings yet. Run the study again.", ())
    about = {(c["network"], c["task"], c["loss"]): c for c in summary["conditions"]}
    parts = []
    for comparison in found:
        named = [(condition, (*condition.group, condition.loss)) for condition in comparison.conditions]
        own = [(condition, about[key]) for condition, key in named if key in about]
        if own:
            parts.append(_part(comparison, own, differences))
    lost = summary["lacking"]
    lacking = f"Done, but not decided with the CRF: {', '.join(lost)}. Run the study again." if lost else ""
    return CrfSection(_sentences(summary), lacking, tuple(parts))


def _sentences(summary: dict[str, Any]) -> tuple[str, ...]:
    crf = summary["crf"]
    settings = (
        f"Smoothness: weight {crf['smoothness_weight']:g}, reach {crf['smoothness_mm']:g} mm. Appearance: weight "
        f"{crf['appearance_weight']:g}, reach {crf['appearance_mm']:g} mm, contrast {crf['appearance_contrast']:g} of "
        f"the image's range. {crf['iterations']} iterations on each slice."
    )
    conditions = summary["conditions"]
    if not conditions:
        return (settings,)
    cases = sum(c["cases"] for c in conditions)
    seconds = sum(c["cases"] * c["seconds_per_case"] for c in conditions) / cases
    backends = ", ".join(sorted({backend for c in conditions for backend in c["backends"]}))
    work = f"{cases} cases decided by {backends}, {seconds:.1f} s a case."
    unlike = sum(c["voxels_unlike_the_runs_own"] for c in conditions)
    if unlike:
        work += (
            f" The networks were asked again, and {unlike} voxels of all came out unlike in the runs' own predictions "
            "(another device or library): so many differences are not the CRF's."
        )
    return settings, work


def _part(comparison: Comparison, own: list[tuple[Condition, dict[str, Any]]], differences: pl.DataFrame) -> CrfPart:
    rows = differences.filter(pl.col("network") == comparison.network, pl.col("task") == comparison.task)
    metrics = list(dict.fromkeys(rows.select("metric", "convention").iter_rows()))
    main = [key for key in metrics if key[0] == MAIN_METRIC]
    others = [key for key in metrics if key[0] != MAIN_METRIC]
    return CrfPart(
        comparison.title,
        tuple(_sentence(condition, about, rows) for condition, about in own),
        main=_difference_table(comparison, "crf", own, rows, main),
        changes=_change_table(comparison, own),
        others=_difference_table(comparison, "crf-further", own, rows, others),
    )


def _sentence(condition: Condition, about: dict[str, Any], rows: pl.DataFrame) -> str:
    """The mean IoU of the organs, and organs lost and found over all cases."""
    whole = rows.filter(
        pl.col("loss") == condition.loss, pl.col("metric") == MAIN_METRIC, pl.col("organ").is_null()
    ).to_dicts()
    told = "no patient has a value"
    if whole:
        low, high = (whole[0][end] for end in ("low", "high"))
        ends = "" if low is None or high is None else f", 95 % interval {100 * low:.1f} to {100 * high:.1f}"
        told = f"{100 * whole[0]['mean_difference']:+.1f} points of the mean organ IoU with the CRF{ends}"
    counts = {
        key: sum(organ[key] for organ in about["organs"].values())
        for key in ("missed_newly", "missed_no_more", "invented_newly", "invented_no_more")
    }
    changes = (
        f"organs lost by it {counts['missed_newly']}, found by it {counts['missed_no_more']}, invented by it "
        f"{counts['invented_newly']}, cleared by it {counts['invented_no_more']}, over {about['cases']} cases"
    )
    return f"{condition.loss}: {told.replace('-', '−').replace('inf', '∞')}; {changes}."


def _difference_table(
    comparison: Comparison,
    name: str,
    own: list[tuple[Condition, dict[str, Any]]],
    rows: pl.DataFrame,
    metrics: list[tuple[str, str]],
) -> Table:
    sections = []
    for metric, convention in metrics:
        measure = Measure(metric, convention)
        said = f"{measure.title}, {convention}" if metric != MAIN_METRIC else measure.title
        for condition, _ in own:
            of_loss = rows.filter(
                pl.col("loss") == condition.loss, pl.col("metric") == metric, pl.col("convention") == convention
            )
            unit = "" if measure.unit == "points" else f" ({measure.unit})"
            sections.append(
                Section(f"{condition.loss}: {said}{unit}", _organ_rows(comparison.study, condition, measure, of_loss))
            )
    words = " and ".join(Measure(*key).title for key in metrics) if len(metrics) == 1 else "Further metrics"
    return Table(
        comparison.named(name),
        f"{words}{comparison.of_title} without and with the CRF, means over patients, and the mean of the patients' "
        "differences, with less without.",
        "organ",
        tuple(map(Header, ("without", "with", "difference", "95 % from", "to", "patients"))),
        tuple(sections),
        (
            "Differences of shares are in points. The unit is the patient: cases and seeds of a patient are averaged "
            "first. Interval: studentised bootstrap. No test: the CRF is no member of the family that the study "
            "declares.",
        ),
    )


def _organ_rows(study: Study, condition: Condition, measure: Measure, rows: pl.DataFrame) -> tuple[Row, ...]:
    titles = [*((organ.name, organ.title) for organ in study.label_set.organs), (None, "mean of organs")]
    found = []
    for organ, title in titles:
        row = rows.filter(pl.col("organ").eq_missing(pl.lit(organ, pl.String)))
        if row.is_empty():
            cells: tuple[Cell, ...] = tuple(Cell() for _ in range(6))
        else:
            values = row.row(0, named=True)
            decimals = titled(measure.metric).decimals
            ends = (values[key] for key in ("mean_difference", "low", "high"))
            cells = (
                Cell(values["mean_without"], decimals, link=cases_link(study, condition, organ or ALL_ORGANS)),
                Cell(values["mean_with"], decimals),
                *(
                    Cell(None if end is None else measure.factor * end, 1 if measure.factor > 1 else decimals)
                    for end in ends
                ),
                Cell(values["patients"], 0),
            )
        found.append(Row(Header(title), cells, summary=organ is None))
    return tuple(found)


def _change_table(comparison: Comparison, own: list[tuple[Condition, dict[str, Any]]]) -> Table:
    organs = comparison.study.label_set.organs
    keys = ("cases", *dict(CHANGES).values())
    sections = []
    for condition, about in own:
        counts = about["organs"]
        rows = (
            Row(Header(organ.title), tuple(Cell(float(counts[organ.name][key]), 0) for key in keys))
            for organ in organs
            if organ.name in counts
        )
        sections.append(Section(condition.loss, tuple(rows)))
    return Table(
        comparison.named("crf-missed-and-invented"),
        f"Cases{comparison.of_title} in which an organ is missed or invented, without and with the CRF.",
        "organ",
        (Header("cases"), *(Header(title) for title, _ in CHANGES)),
        tuple(sections),
    )


def _read(study: Study) -> tuple[dict[str, Any], pl.DataFrame]:
    again = "Ask for the report again."
    return read_object(study.folder / SUMMARY, remedy=again), read_table(study.folder / DIFFERENCES, remedy=again)
