"""The page's section on the CRF: the study's own numbers, in points where they are shares, and what is not there."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steelyard.errors import BadData
from steelyard.report.comparison import comparisons
from steelyard.report.crf_section import CrfSection, crf_section
from steelyard.report.read import read_study
from steelyard.report.table import Table
from steelyard.report.write import write_report
from written_study import SPEC, WrittenRun, write_study

CRF = {
    "smoothness_weight": 3.0, "smoothness_mm": 5.0, "appearance_weight": 4.0, "appearance_mm": 30.0,
    "appearance_contrast": 0.05, "iterations": 10,
}  # fmt: skip
COUNTS = {f"{what}_{when}": 0 for what in ("missed", "invented") for when in ("without", "with", "no_more", "newly")}


def study(folder: Path, *, settings: dict[str, Any] = CRF, rows: list[dict[str, Any]] | None = None, **about: Any):
    """Two networks, of which one was decided with the CRF."""
    runs = [
        WrittenRun("dice", {"p1_a": {"liver": 0.5, "left_kidney": 0.25}}, {"liver": 0.5}, network=net)
        for net in ("net", "other")
    ]
    write_study(folder, runs, spec=SPEC | {"crf": CRF})
    organs = {"liver": COUNTS | {"cases": 7, "missed_without": 2, "missed_no_more": 2}}
    organs["left_kidney"] = COUNTS | {"cases": 7, "missed_with": 3, "missed_newly": 3, "invented_no_more": 1}
    condition = {"network": "net", "task": "multiclass", "loss": "dice", "runs": 1, "cases": 7, "organs": organs}
    condition |= {"seconds_per_case": 1.26, "backends": ["mean_field"], "voxels_unlike_the_runs_own": 0} | about
    summary = {"crf": settings, "lacking": [runs[1].name], "conditions": [condition]}
    (folder / "crf.json").write_text(json.dumps(summary))
    found = [row("liver", (0.50, 0.62, 0.12)), row(None, (0.40, 0.385, -0.015), low=-0.034, high=inf)]
    found.append(row("liver", (12.5, 11.0, -1.5), metric="hd95_mm", convention="chaos", low=-2.25, high=-0.5))
    pl.DataFrame(found if rows is None else rows).write_parquet(folder / "crf.parquet")
    return folder


def row(organ: str | None, means: tuple[float, float, float], **others: Any) -> dict[str, Any]:
    usual = {"network": "net", "task": "multiclass", "loss": "dice", "organ": organ, "metric": "iou"}
    usual |= dict(zip(("mean_without", "mean_with", "mean_difference"), means, strict=True))
    return usual | {"convention": "counts", "patients": 7, "low": 0.05, "high": 0.19} | others


def section(folder: Path) -> CrfSection:
    read = read_study(folder)
    found = crf_section(read, list(comparisons(read)))
    assert found is not None
    return found


def cells(table: Table, *, section: int = 0) -> dict[str, list[str]]:
    return {row.header.label: [cell.number for cell in row.cells] for row in table.sections[section].rows}


def test_shares_differ_in_points_and_distances_in_millimetres(tmp_path):
    (part,) = section(study(tmp_path)).parts
    assert part.title == "net"
    main = cells(part.main)
    assert main["liver"] == ["0.500", "0.620", "12.0", "5.0", "19.0", "7"]
    assert main["left kidney"] == ["–"] * 6
    assert main["mean of organs"] == ["0.400", "0.385", "−1.5", "−3.4", "∞", "7"]
    assert part.others.sections[0].title == "dice: HD95, chaos (mm)"
    assert cells(part.others)["liver"] == ["12.5", "11.0", "−1.5", "−2.2", "−0.5", "7"]


def test_organs_lost_and_found_have_a_table_and_a_sentence(tmp_path):
    (part,) = section(study(tmp_path)).parts
    assert [column.label for column in part.changes.columns][:5] == [
        "cases", "missed without", "missed with", "found by it", "lost by it",
    ]  # fmt: skip
    assert cells(part.changes)["liver"] == ["7", "2", "0", "2", "0", "0", "0", "0", "0"]
    assert cells(part.changes)["left kidney"] == ["7", "0", "3", "0", "3", "0", "0", "1", "0"]
    assert part.sentences == (
        "dice: −1.5 points of the mean organ IoU with the CRF, 95 % interval −3.4 to ∞; organs lost by it 3, found by "
        "it 2, invented by it 0, cleared by it 1, over 7 cases.",
    )


def test_settings_backend_and_time_are_said_and_what_lacks_a_crf(tmp_path):
    found = section(study(tmp_path))
    assert "Smoothness: weight 3, reach 5 mm. Appearance: weight 4, reach 30 mm, contrast 0.05" in found.sentences[0]
    assert found.sentences[1] == "7 cases decided by mean_field, 1.3 s a case."
    assert found.lacking == ("Done, but not decided with the CRF: other-dice-f0-s1-0a1b2c3d. Run the study again.")
    (tmp_path / "two").mkdir()
    told = section(study(tmp_path / "two", voxels_unlike_the_runs_own=12)).sentences[1]
    assert "12 voxels of all came out unlike in the runs' own predictions" in told


def test_a_study_that_asks_for_none_has_no_section_and_one_without_result_says_so(tmp_path):
    write_study(tmp_path / "none", [WrittenRun("dice", {"p1_a": {"liver": 0.5}})])
    read = read_study(tmp_path / "none")
    assert crf_section(read, list(comparisons(read))) is None
    folder = study(tmp_path / "asked", settings=CRF | {"iterations": 3})
    assert section(folder).lacking.startswith("No case was decided with a CRF of these settings yet.")
    (folder / "crf.json").unlink()
    assert section(folder).lacking.startswith("No case was decided with the CRF yet.")
    assert section(folder).parts == ()


def test_a_damaged_file_is_named(tmp_path):
    folder = study(tmp_path)
    (folder / "crf.parquet").write_bytes(b"no table")
    with pytest.raises(BadData, match=r"crf\.parquet: cannot be read .* Ask for the report again"):
        section(folder)


def test_the_page_shows_it_and_the_tables_are_files(tmp_path):
    folder = study(tmp_path)
    page = write_report(folder).read_text()
    assert '<a href="#crf">CRF</a>' in page
    assert "dice: −1.5 points of the mean organ IoU" in page
    tables = {file.name for file in (folder / "report" / "tables").iterdir() if file.name.startswith("crf")}
    assert {"crf-net.csv", "crf-further-net.csv", "crf-missed-and-invented-net.csv"} <= tables
