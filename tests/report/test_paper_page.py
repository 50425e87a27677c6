"""The page of the paper: both sides, the difference, and a word wherever there is no number."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from paper_scores import run, write_runs
from steelyard.errors import BadData
from steelyard.report.paper_page import write_paper_page

PATIENTS = ("p1", "p2", "p3", "p4", "p5")
CHROMIUM = Path("/usr/bin/chromium")


def flat(value: float, *, spread: float = 0.01) -> dict[str, dict[str | None, float]]:
    """Five patients whose organs lie `spread` apart around `value`, and their mean IoU with the background."""
    return {
        f"{patient}_t1_in": dict.fromkeys(
            ("liver", "right_kidney", "left_kidney", "spleen", None), value + spread * (place - 2)
        )
        for place, patient in enumerate(PATIENTS)
    }


def whole(loss: str, value: float, **keys: object) -> pl.DataFrame:
    pooled = {
        "background": 0.99,
        "liver": value + 0.1,
        "right_kidney": value,
        "left_kidney": value,
        "spleen": value - 0.1,
    }
    return run(loss, pooled, flat(value), **keys)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    losses = {"crossE": 0.6, "iou11": 0.7, "iou1505": 0.5, "iou0515": 0.8, "dice": 0.7, "diceBK": 0.65}
    third = [whole(loss, value) for loss, value in losses.items()]
    lower = {case: {organ: value - 0.2 for organ, value in values.items()} for case, values in flat(0.7).items()}
    single = [
        run("dice", {organ: 0.75}, {case: {organ: values[organ]} for case, values in lower.items()}, task="uniclass")
        for organ in ("liver", "right_kidney", "left_kidney", "spleen")
    ]
    specs = {
        "table3": write_runs(folder / "t3", *third, warnings=("one seed <b>only</b>",)),
        "table4": write_runs(folder / "t4", whole("dice", 0.7), *single),
        "augmentation-off": write_runs(folder / "off", whole("crossE", 0.35), planned=3),
        "table1": folder / "not-there",
    }
    return write_paper_page(folder, specs)


def lines(page: Path, table: str) -> dict[tuple[str, str], list[str]]:
    """(section, line) → cells of a table as Markdown shows it."""
    found: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in (page.parent / "tables" / f"{table}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| *"):
            section = cells[0].strip("*").replace("\\", "")
        elif line.startswith("| "):
            found[section, cells[0].replace("\\", "")] = cells[1:]
    return found


def test_the_page_lies_in_the_studies_folder_with_its_numbers(page):
    names = {path.name for path in page.parent.iterdir()}
    assert {"index.html", "cells.parquet", "headline.parquet", "paired.parquet", "tables"} <= names
    cells = pl.read_parquet(page.parent / "cells.parquet")
    known = cells.filter(pl.col("table") == "table3", pl.col("row") == "average_of_organs", pl.col("column") == "dice")
    assert known.select("printed", "ours").row(0) == (0.81, pytest.approx(0.7))
    assert known["difference"].item() == pytest.approx(-0.11)


def test_printed_ours_and_difference_stand_below_each_other(page):
    found = lines(page, "table3")
    average = "average of the organs alone"
    assert found[average, "worked out"] == ["0.815", "0.81", "0.735", "0.87", "0.81", "0.815"]
    assert found[average, "ours, pooled"] == ["0.600", "0.700", "0.500", "0.800", "0.700", "0.650"]
    assert found[average, "difference"] == ["−0.215", "−0.110", "−0.235", "−0.070", "−0.110", "−0.165"]
    assert re.fullmatch(r"0\.600 \(\\\[0\.5\d\d, 0\.6\d\d\\\]\)", found[average, "by patient"][0])


def test_ranks_are_ours_and_those_of_the_printed_means(page):
    found = lines(page, "table3")
    assert found["rank by the average of the organs, ties averaged", "worked out"] == [
        "2.5",
        "4.5",
        "6",
        "1",
        "4.5",
        "2.5",
    ]
    assert found["rank by the average of the organs, ties averaged", "ours"] == ["5", "2.5", "6", "1", "2.5", "4"]
    first = found["rank by the average of the organs, ties averaged", "difference"][0]
    assert first == "+2.5"  # 5 for the printed 2.5
    assert found["rank by the average with background, ties averaged", "printed"] == ["not at hand"] * 6


def test_ranks_among_fewer_losses_say_so_and_have_no_difference(tmp_path):
    some = [whole(loss, value) for loss, value in (("crossE", 0.4), ("dice", 0.6), ("cross_entropy", 0.7))]
    written = write_paper_page(tmp_path, {"table3": write_runs(tmp_path / "t3", *some)})
    found = lines(written, "table3")
    by_organs = "rank by the average of the organs, ties averaged"
    shown = dict(
        zip(("crossE", "iou11", "iou1505", "iou0515", "dice"), found[by_organs, "ours, among 2 losses"], strict=False)
    )
    assert (shown["crossE"], shown["dice"], shown["iou11"]) == ("2", "1", "not run")
    assert (by_organs, "difference") not in found
    assert ("average of the organs alone", "difference") in found


def test_a_cell_that_nobody_copied_says_so_and_has_no_difference(page):
    found = lines(page, "table3")
    assert found["spleen", "printed"] == ["not at hand"] * 6
    assert ("spleen", "difference") not in found


def test_an_average_from_the_papers_summary_is_stated_not_printed(page):
    found = lines(page, "table3")
    average = "average, background included (as the paper's)"
    assert found[average, "stated"] == [
        "0.85", "not at hand", "not at hand", "0.90", "not at hand", "not at hand"
    ]  # fmt: skip
    assert (average, "printed") not in found
    assert ("average of the organs alone", "worked out") in found
    assert "The average is the paper&#39;s own summary" in page.read_text(encoding="utf-8")


def test_a_study_not_run_keeps_its_printed_side(page):
    text = page.read_text(encoding="utf-8")
    assert "Not run yet: table1, table2, table3-fcn, sequence-split." in text
    assert {line for _, line in lines(page, "table1")} >= {"printed"}
    assert not any(line.startswith("ours") for _, line in lines(page, "table1"))
    assert "this needs finished runs of table3 and sequence-split" in text


def test_single_organ_networks_have_no_average_with_background(page):
    found = lines(page, "table4")
    assert found["average, background included (as the paper's)", "ours, pooled"] == [
        "not run", "not run", "0.758", "not run", "not run", "not defined"
    ]  # fmt: skip
    assert found["average of the organs alone", "ours, pooled"][-1] == "0.750"
    assert found["average of the organs alone", "difference"][-1] == "+0.007"


def test_the_headline_stands_beside_the_papers_own(page):
    found = lines(page, "headline")
    assert found["", "liver"] == ["not at hand", "+20.0 (iou0515)", "not run"]
    assert found["", "sum over the organs"] == ["+22 (as stated)", "+80.0", "not run"]
    assert found["", "most of these"][0] == "+11 (as stated)"
    losses = lines(page, "headline-losses")
    assert losses["", "iou0515"][0] == "+22.0"
    assert losses["", "iou0515"][1].startswith("+80.0 (\\[")
    assert losses["", "iou1505"][1].startswith("−40.0")


def test_the_headline_waits_for_all_losses_and_names_those_with_fewer_runs(tmp_path):
    runs = [whole(loss, value, fold=fold) for loss, value in (("crossE", 0.4), ("dice", 0.6)) for fold in (0, 1)]
    written = write_paper_page(tmp_path, {"table3": write_runs(tmp_path / "t3", *runs, whole("iou0515", 0.9))})
    best, alone = lines(written, "headline"), lines(written, "headline-losses")
    assert [best["", row][1] for row in ("liver", "sum over the organs")] == ["1 of 5 losses finished"] * 2
    assert [alone["", loss][1].split(" (")[0] for loss in ("iou0515", "dice", "iou11")] == [
        "fewer runs finished", "+80.0", "not run"
    ]  # fmt: skip


def test_augmentation_is_paired_by_patient(page):
    found = lines(page, "augmentation")
    # every patient: .60 with, .35 without
    assert found["mean of the organs", "with augmentation − without augmentation"] == ["+0.250 (\\[0.250, 0.250\\])"]
    assert found["liver", "patients"] == ["5"]


def test_pooled_differences_stand_only_where_both_scored_the_same_cases(tmp_path):
    easy = whole("dice", 0.8, fold=0)
    hard = run(
        "dice",
        dict.fromkeys(("liver", "right_kidney", "left_kidney", "spleen"), 0.2),
        {"p9_t1_in": {"liver": 0.2}},
        fold=1,
    )
    folders = {
        "table3": write_runs(tmp_path / "t3", easy, hard),
        "sequence-split": write_runs(tmp_path / "split", easy),  # nothing but a copy
        "augmentation-off": write_runs(tmp_path / "off", easy, hard),
    }
    written = write_paper_page(tmp_path, folders)
    leak, same = lines(written, "leak"), lines(written, "augmentation")
    assert leak["liver", "split by sequence − split by patient"] == ["0.000 (\\[0.000, 0.000\\])"]
    assert leak["liver", "split by sequence − split by patient, pooled"] == ["other cases"]
    assert same["liver", "with augmentation − without augmentation, pooled"] == ["0.000"]


def test_uniclass_is_paired_with_multiclass(page):
    assert lines(page, "task")["liver", "uniclass − multiclass"] == ["−0.200 (\\[−0.200, −0.200\\])"]


def test_unfinished_runs_and_warnings_of_the_studies_are_named(page):
    text = page.read_text(encoding="utf-8")
    assert "augmentation-off: 2 of 3 runs are not finished." in text
    assert "table3: one seed &lt;b&gt;only&lt;/b&gt;" in text


def test_tables_of_the_literature_say_that_they_are_not_at_hand(page):
    assert "Table 5: values from the literature: not at hand." in page.read_text(encoding="utf-8")


def test_no_cell_is_blank_or_a_bare_dash(page):
    cells = re.findall(r'<td class="n"[^>]*>(.*?)</td>', page.read_text(encoding="utf-8"))
    assert len(cells) > 300
    assert [cell for cell in cells if not cell.strip() or cell.strip() == "–"] == []


def test_without_any_study_the_page_shows_the_printed_side(tmp_path):
    text = write_paper_page(tmp_path, {}).read_text(encoding="utf-8")
    assert "0.735" in text
    assert "not at hand" in text
    assert text.count("Not run yet") >= 4


def test_a_damaged_study_ends_in_one_line(tmp_path):
    (tmp_path / "t3").mkdir()
    (tmp_path / "t3" / "study.json").write_text("{")
    with pytest.raises(BadData) as raised:
        write_paper_page(tmp_path, {"table3": tmp_path / "t3"})
    assert "\n" not in str(raised.value)


def test_the_page_runs_nothing_and_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert [link for link in re.findall(r'(?:href|src)="([^"]*)"', text) if not link.startswith("#")] == []
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'href="(#[^"]*)"', text)} <= set(ids)


@pytest.mark.browser
def test_a_browser_shows_the_page_without_sideways_scrolling(page):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        tab = browser.new_page(viewport={"width": 700, "height": 900})
        tab.goto(page.as_uri())
        spread = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert spread <= 700
