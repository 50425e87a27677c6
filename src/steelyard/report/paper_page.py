"""One page that sets the paper's tables beside ours, also while some of the studies are not run yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from steelyard.report.paper_gains import gain_table, loss_gain_table
from steelyard.report.paper_parts import (
    HEADLINE_WORDS,
    literature_parts,
    pairs_of,
    partners_of,
    readings_of,
    table_parts,
)
from steelyard.report.read import Study, read_study
from steelyard.report.table_files import WRITERS
from steelyard.report.template import render
from steelyard.runstore import write_atomically, write_parquet
from steelyard.study.paper.headline import headline
from steelyard.study.paper.printed import NOT_AT_HAND, NOT_PRINTED, PrintedTable, printed_facts, printed_tables
from steelyard.study.paper.reproduce import Ours, patient_interval, reproduce_table
from steelyard.study.paper.studies import STUDIES

FOLDER = "report"
PAPER = "P. Furtado, Investigation of loss functions for improving deep segmentation of abdominal organs from MRI"


@dataclass(frozen=True)
class Behind:
    """A study behind the page: how far it came, and where its own report is."""

    name: str
    says: str
    link: str


def write_paper_page(studies_folder: Path, specs: Mapping[str, Path]) -> Path:
    """Write `<studies_folder>/report/index.html`, its tables and its numbers as Parquet; returns the page's path.

    `specs` maps names of `STUDIES` to study folders; a study that is left out, or whose folder holds no study.json
    yet, is shown as not run, and its tables keep their printed side. `cells.parquet`, `headline.parquet` and
    `paired.parquet` lie beside the page.

    Raises:
        BadData: a study folder or the file of printed tables is damaged.
    """
    studies = {name: read_study(specs[name]) for name in STUDIES if name in specs and _is_written(specs[name])}
    ours = {name: _ours(study) for name, study in studies.items()}
    target = studies_folder / FOLDER
    printed, facts = printed_tables(), printed_facts()

    readings = readings_of(printed)
    cells = {
        name: reproduce_table(table, ours.get(study), patient_interval) for name, (table, study) in readings.items()
    }
    gains = headline(printed["table3"], ours.get("table3"), patient_interval)
    pairs = pairs_of(ours, patient_interval)
    parts = [*table_parts(readings, cells), *literature_parts(printed)]
    headline_tables = (gain_table(gains, facts), loss_gain_table(gains))
    partners = partners_of(pairs)

    write_parquet(
        target / "cells.parquet", pl.concat(f.with_columns(pl.lit(n).alias("table")) for n, f in cells.items())
    )
    write_parquet(target / "headline.parquet", gains)
    write_parquet(target / "paired.parquet", pl.concat(pairs.values()))
    found = [table for part in parts for table in part.tables]
    found += [*headline_tables, *(partner.table for partner in partners if partner.table)]
    for table in found:
        for suffix, write in WRITERS.items():
            _write(target / "tables" / f"{table.name}.{suffix}", write(table))
    page = render(
        "paper.html.j2",
        paper=PAPER,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        not_at_hand=NOT_AT_HAND,
        not_printed=NOT_PRINTED,
        warnings=_warnings(studies, printed),
        studies=[_behind(name, studies.get(name), target) for name in STUDIES],
        parts=parts,
        headline_words=HEADLINE_WORDS,
        headline_tables=headline_tables,
        partners=partners,
        facts=facts.values(),
    )
    _write(target / "index.html", page)
    return target / "index.html"


def _ours(study: Study) -> Ours:
    planned = tuple((c.network, c.task, c.loss) for c in study.conditions)
    return Ours(study.scores, planned, tuple(organ.name for organ in study.label_set.organs))


def _behind(name: str, study: Study | None, target: Path) -> Behind:
    if study is None:
        return Behind(name, "not run yet", "")
    spec = study.spec
    size, train = spec.get("preprocess", {}).get("size"), spec.get("train", {})
    networks = ", ".join(dict.fromkeys(run.network for run in study.runs))
    setting = [networks, f"{size} pixels" if size else "", f"{train['epochs']} epochs" if "epochs" in train else ""]
    says = f"{len(study.done)} of {len(study.runs)} runs finished; " + ", ".join(word for word in setting if word)
    page = study.folder / FOLDER / "index.html"
    return Behind(name, says, Path(os.path.relpath(page, target)).as_posix() if page.is_file() else "")


def _warnings(studies: Mapping[str, Study], printed: Mapping[str, PrintedTable]) -> list[str]:
    cells = [cell for table in printed.values() for cell in table.cells.values()]
    missing = sum(cell.word == NOT_AT_HAND for cell in cells)
    lines = [
        f"{missing} of {len(cells)} cells of the printed tables 1 to 4 are {NOT_AT_HAND}: nothing can be "
        "compared with those."
    ]
    absent = [name for name in STUDIES if name not in studies]
    if absent:
        lines.append(f"Not run yet: {', '.join(absent)}.")
    for name, study in studies.items():
        if len(study.done) < len(study.runs):
            lines.append(f"{name}: {len(study.runs) - len(study.done)} of {len(study.runs)} runs are not finished.")
        failed = [run.run for run in study.runs if run.state == "failed"]
        lines += [f"{name}: run {run} failed. It enters no table." for run in failed]
        lines += [f"{name}: {warning}" for warning in study.warnings]
    return lines


def _is_written(folder: Path) -> bool:
    return (folder / "study.json").is_file()


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
