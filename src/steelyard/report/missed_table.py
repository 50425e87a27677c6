"""Missing and spilling in numbers: the plane's shares, and millilitres per patient."""

from __future__ import annotations

import polars as pl

from steelyard.report.comparison import Comparison
from steelyard.report.means import over_patients, pooled
from steelyard.report.missed_spilled import missed_and_spilled
from steelyard.report.plane import shares
from steelyard.report.table import Cell, Header, Row, Section, Table

SHARES = {"sensitivity": "sensitivity: found of the organ", "precision": "precision: right of what was found"}
VOLUMES = {"missed_ml": "missed (ml)", "spilled_ml": "spilled (ml)"}


def missed_table(comparison: Comparison) -> Table:
    """The plane in numbers: pooled shares, and the millilitres of an organ that are missed and spilled.

    No best is marked: whoever marks everything as organ misses nothing.
    """
    together, volumes = pooled(shares(comparison)), _volumes(comparison)
    shown = [(together, metric, title, 3) for metric, title in SHARES.items()]
    shown += [(volumes, volume, title, 1) for volume, title in VOLUMES.items()]
    sections = []
    for organ in comparison.study.label_set.organs:
        rows = []
        for table, metric, title, decimals in shown:
            values = comparison.values(table, organ=organ.name, metric=metric)
            cells = tuple(Cell(value, decimals) for value in values)
            rows.append(Row(Header(title), comparison.linked(cells, organ.name)))
        sections.append(Section(organ.title, tuple(rows)))
    return Table(
        comparison.named("missed-and-spilled"),
        f"Missing and spilling{comparison.of_title}: sensitivity and precision pooled over the voxels of a run; "
        f"millilitres are means over patients, each patient once; {comparison.extent}. Convention: voxel counts.",
        "per organ",
        comparison.headers,
        tuple(sections),
    )


def _volumes(comparison: Comparison) -> pl.DataFrame:
    volumes = missed_and_spilled(comparison.study).filter(
        pl.col("network") == comparison.network, pl.col("task") == comparison.task
    )
    cases = comparison.scores.filter(pl.col("case_id").is_not_null()).select("run", "case_id", "patient_id").unique()
    long = volumes.join(cases, on=["run", "case_id"]).unpivot(
        list(VOLUMES),
        index=["network", "task", "loss", "case_id", "patient_id", "organ"],
        variable_name="metric",
        value_name="value",
    )
    return over_patients(long.with_columns(pl.lit("counts").alias("convention"), pl.lit("ml").alias("unit")))
