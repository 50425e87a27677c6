"""A page per network and loss that lists the cases behind its numbers: worst first, each with its run and its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import polars as pl

from steelyard.labels import Organ
from steelyard.report.comparison import Comparison
from steelyard.report.links import ALL_ORGANS
from steelyard.report.means import mean
from steelyard.report.metric_tables import FURTHER, MAIN, Shown, titled
from steelyard.report.missed_spilled import missed_and_spilled
from steelyard.report.paired import paired_table
from steelyard.report.read import BACKGROUND, Condition, Run
from steelyard.report.statistics import read_statistics
from steelyard.report.table import Cell, Header, Row, Section, Table
from steelyard.report.tables import GLOBAL_COLUMNS
from steelyard.report.viewer_page import Viewer

IOU = ("iou", "counts")
ML = Shown("", 1)
POOLED = (IOU, ("dice", "counts"), ("sensitivity", "counts"), ("precision", "counts"))
STUDY_FROM_PAGE = "../.."  # pages lie in <study>/report/cases

Key = tuple[str, str]  # metric, convention


@dataclass(frozen=True)
class CaseRow:
    """One held-out case under one run. `file` is the prediction's address from the page, empty where it is gone.

    `view` is the address of its images in the viewer, empty where there are none.
    """

    case_id: str
    patient_id: str
    sequence: str
    run: Run
    status: str
    cells: tuple[Cell, ...]
    further: tuple[Cell, ...] = ()
    file: str = ""
    view: str = ""


@dataclass(frozen=True)
class CaseSection:
    """All cases behind one organ's numbers (or all organs'), and how the runs' pooled values make the pooled one."""

    anchor: str
    title: str
    runs: Table
    columns: tuple[str, ...]
    rows: tuple[CaseRow, ...]
    further_columns: tuple[str, ...] = ()
    paired: Table | None = None


@dataclass(frozen=True)
class _Found:
    """The scores of a condition, to be looked up."""

    runs: tuple[Run, ...]
    cases: dict[tuple[str, str, str | None, Key], dict[str, object]] = field(repr=False)
    pooled: dict[tuple[str, str | None, Key], float | None] = field(repr=False)
    volumes: dict[tuple[str, str, str], tuple[float | None, float | None]] = field(repr=False)
    viewer: Viewer

    def value(self, run: Run, case_id: str, organ: str | None, key: Key) -> float | None:
        row = self.cases.get((run.run, case_id, organ, key))
        return None if row is None else row["value"]  # type: ignore[return-value]

    def identities(self, organ: str | None) -> dict[tuple[Run, str], dict[str, object]]:
        """The run and case of every IoU of the organ; of any organ where None is asked."""
        runs = {run.run: run for run in self.runs}
        return {
            (runs[run], case): row
            for (run, case, name, key), row in self.cases.items()
            if key == IOU and (organ is None or name == organ)
        }


def case_sections(
    comparison: Comparison, condition: Condition, viewer: Viewer | None = None
) -> tuple[CaseSection, ...]:
    """A section for all organs, then one per organ, of a condition with at least one finished run.

    Where the study has statistics, each section ends with the patients beside the baseline. Cases lead to their images
    in the `viewer`.
    """
    viewer = viewer or Viewer(comparison.study, "not written")
    found, statistics = _look_up(comparison, condition, viewer), read_statistics(comparison)
    organs = comparison.study.label_set.organs
    sections = (_all_organs(comparison, found), *(_of_organ(organ, found) for organ in organs))
    if statistics is None:
        return sections
    return tuple(
        replace(section, paired=paired_table(statistics, condition.loss, name))
        for section, name in zip(sections, (None, *(organ.name for organ in organs)), strict=True)
    )


def _of_organ(organ: Organ, found: _Found) -> CaseSection:
    keys = list(dict.fromkeys(key for _, _, name, key in found.cases if name == organ.name))
    main = [IOU, *(key for metric in MAIN for key in keys if key[0] == metric)]
    further = [key for metric in FURTHER for key in keys if key[0] == metric]
    further += [key for key in keys if key not in {*main, *further}]
    rows = []
    for (run, case_id), row in found.identities(organ.name).items():
        missed, spilled = found.volumes.get((run.run, case_id, organ.name), (None, None))
        cells = [Cell(found.value(run, case_id, organ.name, key), titled(key[0]).decimals) for key in main]
        rest = tuple(Cell(found.value(run, case_id, organ.name, key), titled(key[0]).decimals) for key in further)
        cells[1:1] = [Cell(missed, ML.decimals), Cell(spilled, ML.decimals)]
        rows.append(_row(run, case_id, row, tuple(cells), rest, found.viewer.link(run, case_id, organ.name)))
    titles = _titles(main)
    own = [run for run in found.runs if run.organ in (None, organ.name)]
    pooled = [(title, organ.name, key) for key, title in zip(POOLED, _titles(POOLED), strict=True)]
    return CaseSection(
        organ.name,
        organ.title,
        _runs_table(organ.name, own, pooled, found),
        (titles[0], "missed (ml)", "spilled (ml)", *titles[1:]),
        _worst_first(rows),
        tuple(_titles(further)),
    )  # fmt: skip


def _all_organs(comparison: Comparison, found: _Found) -> CaseSection:
    organs = comparison.study.label_set.organs
    overall = GLOBAL_COLUMNS if comparison.has_background else {}
    rows: dict[tuple[str, int, int], CaseRow] = {}
    for (run, case_id), row in found.identities(None).items():
        repeat = (case_id, run.fold, run.seed)
        if repeat in rows:
            continue
        own = {r.organ: r for r in found.runs if (r.fold, r.seed) == (run.fold, run.seed)}
        ious = [found.value(own.get(o.name, run), case_id, o.name, IOU) for o in organs]
        cells = [Cell(value) for value in (mean([v for v in ious if v is not None]), *ious)]
        cells += [Cell(found.value(run, case_id, None, key)) for key in overall]
        rows[repeat] = _row(run, case_id, row, tuple(cells), (), found.viewer.link(run, case_id))
    pooled: list[tuple[str, str | None, Key]] = [(f"IoU of {organ.title}", organ.name, IOU) for organ in organs]
    if comparison.has_background:
        pooled.insert(0, ("IoU of background", BACKGROUND, IOU))
    pooled += [(title, None, key) for key, title in overall.items()]
    return CaseSection(
        ALL_ORGANS,
        "all organs",
        _runs_table(ALL_ORGANS, found.runs, pooled, found),
        ("mean IoU of the case's organs", *(f"IoU of {organ.title}" for organ in organs), *overall.values()),
        _worst_first(rows.values()),
    )


def _runs_table(name: str, runs: Iterable[Run], columns: Sequence[tuple[str, str | None, Key]], found: _Found) -> Table:
    rows = tuple(
        Row(
            Header(run.run),
            (
                Cell(run.fold, 0),
                Cell(run.seed, 0),
                *(Cell(found.pooled.get((run.run, organ, key))) for _, organ, key in columns),
            ),
        )
        for run in runs
    )
    return Table(
        f"runs-{name}",
        "The runs: a pooled number of the report is the mean of these.",
        "run",
        tuple(map(Header, ("fold", "seed", *(f"{title}, pooled" for title, _, _ in columns)))),
        (Section("", rows),),
    )  # fmt: skip


def _row(
    run: Run, case_id: str, row: dict[str, object], cells: tuple[Cell, ...], rest: tuple[Cell, ...], view: str
) -> CaseRow:
    path = run.files.prediction(case_id)
    file = "/".join((STUDY_FROM_PAGE, *map(quote, path.relative_to(run.files.path.parent).parts)))
    return CaseRow(
        case_id,
        str(row["patient_id"] or ""),
        str(row["sequence"] or ""),
        run,
        str(row["status"]),
        cells,
        rest,
        file if path.is_file() else "",
        view,
    )


def _worst_first(rows: Iterable[CaseRow]) -> tuple[CaseRow, ...]:
    """By the first number; cases without it last."""

    def place(row: CaseRow) -> tuple[bool, float, str, str]:
        value = row.cells[0].value
        return value is None, value or 0.0, row.case_id, row.run.run

    return tuple(sorted(rows, key=place))


def _titles(keys: Iterable[Key]) -> list[str]:
    """Titles of metrics, with the convention where one metric has several."""
    keys = list(keys)
    several = {metric for metric, _ in keys if sum(metric == other for other, _ in keys) > 1}
    return [
        titled(metric).title + (f", {convention.replace('_', ' ')}" if metric in several else "")
        for metric, convention in keys
    ]


def _look_up(comparison: Comparison, condition: Condition, viewer: Viewer) -> _Found:
    own = comparison.scores.filter(pl.col("loss") == condition.loss)
    cases, pooled = {}, {}
    for row in own.iter_rows(named=True):
        key = (row["metric"], row["convention"])
        if row["case_id"] is None:
            pooled[row["run"], row["organ"], key] = row["value"]
        else:
            cases[row["run"], row["case_id"], row["organ"], key] = row
    volumes = {
        (row["run"], row["case_id"], row["organ"]): (row["missed_ml"], row["spilled_ml"])
        for row in missed_and_spilled(comparison.study).iter_rows(named=True)
    }
    runs = tuple(run for run in comparison.done if run.loss == condition.loss)
    return _Found(runs, cases, pooled, volumes, viewer)
