"""From a case in the report to its images: where links lead, and what is said where there is nothing to see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from steelyard.report import viewer_page
from steelyard.report.write import write_report
from written_study import WrittenRun, block, write_images, write_prediction, write_study

CASES = {"p1_a": {"liver": 0.6, "left_kidney": 0.8}, "p2_a": {"liver": 0.2, "left_kidney": 0.4}}
LIVER = block(slice(0, 2), slice(1, 4))


def written(folder: Path, *, kept: tuple[str, ...] = ("p1_a", "p2_a")) -> Path:
    """A study of two losses and two seeds; images and predictions of the `kept` cases are at hand."""
    runs = [WrittenRun(loss, CASES, seed=seed) for loss in ("dice+ce", "iou") for seed in (1, 2)]
    write_study(folder, runs)
    for case in kept:
        write_images(folder, case, LIVER)
        for run in runs:
            write_prediction(folder, run, case, LIVER)
    return folder


def links(folder: Path) -> set[str]:
    pages = (folder / "report" / "cases").glob("*.html")
    return {
        link for page in pages for link in re.findall(r'href="(\.\./viewer[^"]*)"', page.read_text(encoding="utf-8"))
    }


def index_of(folder: Path) -> dict:
    text = (folder / "report" / "viewer.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_every_link_names_a_case_and_a_prediction_of_the_page(tmp_path):
    write_report(written(tmp_path))
    entries = {entry["id"]: {p["name"] for p in entry["predictions"]} for entry in index_of(tmp_path)["cases"]}
    names = {"dice+ce, seed 1", "dice+ce, seed 2", "iou, seed 1", "iou, seed 2"}
    assert entries == {"p1_a": names, "p2_a": names}
    asked = [parse_qs(link.split("#")[1].replace("&amp;", "&")) for link in links(tmp_path)]
    assert {(a["case"][0], a["prediction"][0]) for a in asked} == {(c, n) for c, own in entries.items() for n in own}
    assert {a["organ"][0] for a in asked if "organ" in a} == {"liver", "left_kidney"}


def test_the_page_leads_back_and_holds_neither_a_path_of_the_machine_nor_a_name(tmp_path):
    folder = written(tmp_path)
    write_report(folder)
    text = (folder / "report" / "viewer.html").read_text(encoding="utf-8")
    assert 'href="index.html"' in text
    assert "/home/someone" not in text
    assert str(tmp_path) not in text


def test_a_case_that_was_not_kept_has_no_link(tmp_path):
    write_report(written(tmp_path, kept=("p1_a",)))
    assert {re.search(r"case=(\w+)", link)[1] for link in links(tmp_path)} == {"p1_a"}  # type: ignore[index]


def test_without_any_image_the_report_says_so_and_is_written(tmp_path):
    page = write_report(written(tmp_path, kept=()))
    assert page.is_file()
    assert links(tmp_path) == set()
    assert not (tmp_path / "report" / "viewer.html").exists()
    assert "viewer.html" not in page.read_text(encoding="utf-8")
    (cases, *_) = (tmp_path / "report" / "cases").glob("*.html")
    assert "no prediction was kept together with its image" in cases.read_text(encoding="utf-8")


def test_a_large_study_gets_its_page_on_demand_and_is_linked_then(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(viewer_page, "MOST_CASES", 1)
    folder = written(tmp_path)
    write_report(folder)
    assert links(folder) == set()
    viewer_page.write_study_viewer(folder)
    write_report(folder)
    assert len(links(folder)) == 2 * 4 * 3  # cases, predictions; all organs, liver, kidney
