"""The metric audit's page: alone, true to its table, and made from a study or from any two folders."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate import parse_labels
from steelyard.io.nifti import write_volume
from steelyard.report.metric_audit_page import audit_metrics_of_folders, audit_metrics_of_study
from steelyard.report.metric_audit_source import folder_source, spread, study_source
from steelyard.report.metric_audit_words import findings, headline, least_rows, signed, skips
from steelyard.scores import Score
from steelyard.study.damage import DAMAGES
from steelyard.study.metric_audit import AuditRow, MetricAudit, Skipped
from steelyard.volume import Volume
from written_study import GRID, LABELS, WrittenRun, block, write_images, write_prediction, write_study

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
CASES = ("mr-01_a", "mr-02_a", "mr-03_a")


def organs(liver: slice, kidney: slice) -> np.ndarray:
    return block(slice(0, 2), liver, slices=slice(0, 3)) + block(slice(2, 4), kidney, index=2)


def written(folder: Path, *runs: WrittenRun) -> Path:
    """Three cases; the prediction has one column too many of the liver (18 and 24 voxels), and the kidney right."""
    write_study(folder, list(runs))
    for case in CASES:
        write_images(folder, case, organs(slice(0, 3), slice(4, 6)))
        for run in runs:
            if run.state == "done":
                write_prediction(folder, run, case, organs(slice(0, 4), slice(4, 6)))
    return folder


def run_of(loss: str, iou: float = 0.75, **options) -> WrittenRun:
    cases = {case: {"liver": iou, "left_kidney": 0.4} for case in CASES}
    return WrittenRun(loss, cases, {"liver": iou, "left_kidney": 0.4}, **options)


def score(metric: str, convention: str, value: float, organ: str, case: str) -> Score:
    return Score(metric, value, "1", convention, "ok", organ, case, case.split("_")[0], "t1_in")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    failed = [
        score("roc_auc", "score_sweep", 0.987, "left_kidney", "mr-02_a"),
        score("pr_auc", "score_sweep", 0.321, "left_kidney", "mr-02_a"),
        score("accuracy", "counts", 0.976, "left_kidney", "mr-02_a"),
        score("specificity", "counts", 0.998, "left_kidney", "mr-02_a"),
    ]
    folder = tmp_path_factory.mktemp("studies") / "small"
    return audit_metrics_of_study(written(folder, run_of("dice", others=failed)))


def rows_of(page: Path) -> list[dict[str, str]]:
    with page.with_name("metric-audit.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Links(HTMLParser):
    """Every address that a browser would fetch, every tag and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.addresses += [named[key] or "" for key in ("src", "href", "xlink:href", "srcset") if key in named]
        self.ids += [named["id"] or ""] if "id" in named else []


def test_the_page_lies_in_the_study_beside_its_tables(page):
    assert page.parent.name == "metric-audit"
    assert {file.name for file in page.parent.iterdir()} == {"index.html", "metric-audit.csv", "metric-audit.json"}


def test_the_page_fetches_nothing_runs_nothing_and_names_no_place(page):
    text = page.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.addresses
    assert [address for address in links.addresses if not address.startswith("#")] == []
    assert set(links.addresses) - {"#" + name for name in links.ids} == set()
    assert "script" not in links.tags
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    assert len(links.ids) == len(set(links.ids))
    assert str(page.parents[1]) not in text
    assert "/home/someone" not in text


def test_a_liver_that_is_removed_loses_its_iou_on_the_page_and_in_both_files(page):
    """IoU 18 / 24 = .75, sensitivity 1, without the liver 0. The organ's accuracy falls from 66 / 72 to 54 / 72."""
    wanted = {"damage": "removed", "organ": "liver", "scope": "organ", "over": "mean of cases"}
    found = {r["metric"]: r for r in rows_of(page) if wanted.items() <= r.items()}
    assert [float(found["iou"][key]) for key in ("before", "after", "drop")] == [0.75, 0, 0.75]
    assert float(found["accuracy"]["drop"]) == pytest.approx(12 / 72)
    content = json.loads(page.with_name("metric-audit.json").read_text())
    assert len(content["rows"]) == len(rows_of(page))
    assert content["cases"] == list(CASES)
    (same,) = (r for r in content["rows"] if {**wanted, "metric": "iou"}.items() <= r.items())
    assert same["drop"] == 0.75


def test_the_map_shows_the_organ_whose_failure_shows_least(page):
    """Removed: IoU .75 of the liver, 1 of the kidney."""
    own = page.read_text(encoding="utf-8").split("<h3>")[1]
    assert own.startswith("The damaged organ&#39;s own scores")
    assert '"IoU · liver removed · 0.750 · reveals it"' in own
    assert '"IoU · left kidney removed' not in own
    assert '"precision · liver removed · no value · loses its value"' in own


def test_organs_that_failed_by_themselves_stand_beside_their_auc(page):
    text = page.read_text(encoding="utf-8")
    section = text[text.index('<section id="worst">') : text.index('<section id="tables">')]
    assert section.index("mr-01_a, left kidney") < section.index("mr-02_a, left kidney")
    for number in ("0.400", "0.987", "0.976", "0.998", "0.321"):
        assert number in section


def test_cases_organs_and_what_was_left_out_are_said(page):
    text = page.read_text(encoding="utf-8")
    assert "Predictions of dice on net, the highest average IoU of the study; all 3 cases: mr-01_a, mr-02_a" in text
    assert "left kidney not swapped: it has no counterpart on the other side (3 cases)." in text
    assert "moves 20 mm to the patient&#39;s left" in text


def test_a_study_without_areas_under_curves_shows_no_organs_that_failed_by_themselves(tmp_path):
    text = audit_metrics_of_study(written(tmp_path, run_of("dice")), cases=1).read_text(encoding="utf-8")
    assert "Organs that failed by themselves" not in text
    assert "1 of 3 cases, evenly spaced" in text


def test_the_loss_with_the_highest_average_is_audited_or_the_run_that_is_named(tmp_path):
    weak, strong = run_of("dice", 0.5), run_of("iou11", 0.8)
    folder = written(tmp_path, weak, strong)
    assert {file.run.loss for file in study_source(folder, cases=9).files} == {"iou11"}
    assert {file.run.loss for file in study_source(folder, cases=9, run=weak.name).files} == {"dice"}
    with pytest.raises(BadSpec, match=f"Did you mean '{weak.name}'"):
        study_source(folder, cases=1, run=weak.name[:-1])


def test_a_case_is_taken_once_where_several_seeds_predicted_it(tmp_path):
    source = study_source(written(tmp_path, run_of("dice"), run_of("dice", seed=2)), cases=9)
    assert [file.case_id for file in source.files] == list(CASES)
    assert {file.run.seed for file in source.files} == {1}


def test_networks_of_one_organ_and_unfinished_runs_are_not_audited(tmp_path):
    binary = run_of("dice", 0.9, organ="liver")
    folder = written(tmp_path / "a", binary, run_of("iou11", 0.6), run_of("crossE", state="unfinished"))
    assert {file.run.loss for file in study_source(folder, cases=9).files} == {"iou11"}
    for runs in ((binary,), (run_of("crossE", state="unfinished"),)):
        with pytest.raises(BadData, match="no predictions of a finished multiclass run"):
            study_source(written(tmp_path / runs[0].loss, *runs), cases=1)


def test_folders_of_files_are_audited_with_the_organs_that_are_named(tmp_path):
    for name, liver in (("reference", slice(0, 3)), ("prediction", slice(0, 4))):
        for case in ("p1", "p2"):
            labels = LABELS.source_from_classes(organs(liver, slice(4, 6)))
            write_volume(tmp_path / name / f"{case}.nii.gz", Volume(labels, GRID))  # source values
    page = audit_metrics_of_folders(
        tmp_path / "reference",
        tmp_path / "prediction",
        out=tmp_path / "page",
        labels=parse_labels("liver=63,left_kidney=189"),
    )
    assert page == tmp_path / "page" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "Label maps of prediction against reference; all 2 cases: p1, p2." in text
    assert '"IoU · liver removed · 0.750 · reveals it"' in text
    assert str(tmp_path) not in text
    unnamed = folder_source(tmp_path / "reference", tmp_path / "prediction", cases=1)
    assert [c.case_id for c in unnamed.cases()] == ["p1"]


def test_names_cannot_smuggle_markup_into_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = written(tmp_path, run_of("<b>dice", network="<i>net"))
    plan = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(plan | {"name": evil}))
    links = Links()
    links.feed(audit_metrics_of_study(folder, cases=1).read_text(encoding="utf-8"))
    assert links.tags.isdisjoint({"script", "b", "i"})


def test_a_choice_of_cases_is_spread_over_all():
    assert spread(list("abcdefg"), 3) == ["a", "c", "e"]
    assert spread(["a", "b"], 5) == ["a", "b"]
    with pytest.raises(BadSpec, match="at least one case; came 0"):
        spread(["a"], 0)


def made(damage: str, metric: str, drops: dict[str, float | None], *, unit: str = "1") -> list[AuditRow]:
    verdicts = {
        None: "undefined",
        0.6: "reveals",
        0.3: "reveals",
        0.05: "moves",
        0.001: "hardly moves",
        -0.02: "looks better",
    }
    return [
        AuditRow(
            damage, organ, "organ", metric, "counts", unit, "mean of cases", 0.9, 0.1, drop, drop, verdicts[drop], 4, 0
        )
        for organ, drop in drops.items()
    ]


MADE = MetricAudit(
    ("a",),
    LABELS,
    DAMAGES[:2],
    (
        *made("removed", "iou", {"liver": 0.6, "left_kidney": 0.3}),
        *made("removed", "accuracy", {"liver": 0.05, "left_kidney": 0.001}),
        *made("removed", "precision", {"liver": 0.6, "left_kidney": None}),
        *made("shifted", "iou", {"liver": 0.6, "left_kidney": 0.05}),
        *made("shifted", "accuracy", {"liver": 0.6, "left_kidney": -0.02}),
        *made("shifted", "precision", {"liver": 0.3, "left_kidney": 0.6}),
    ),
    (),
)


def test_of_the_organs_the_one_that_shows_least_speaks_for_a_score():
    assert [(row.metric, row.organ) for row in least_rows(MADE, "removed")] == [
        ("iou", "left_kidney"),
        ("accuracy", "left_kidney"),
        ("precision", "left_kidney"),
    ]
    assert [row.organ for row in least_rows(MADE, "shifted")] == ["left_kidney", "left_kidney", "liver"]


def test_the_findings_are_counted_from_the_table():
    assert headline(MADE) == (
        "An organ that was removed is revealed, whichever it is, by 1 of 3 scores; "
        "1 may miss an organ under each of the 2 kinds of failure (organ: accuracy)."
    )
    assert findings(MADE) == [
        (
            "removed",
            "Whichever organ fails, it is revealed by 1 of 3 scores. 1 hardly moves: organ: accuracy 0.001. "
            "1 loses its value: organ: precision.",
        ),
        ("shifted", "Whichever organ fails, it is revealed by 1 of 3 scores. 1 looks better: organ: accuracy −0.020."),
    ]


def test_the_same_skip_in_several_cases_is_one_line():
    found = [Skipped(case, "shrunk", "left_kidney", "the prediction lacks it") for case in "ab"]
    assert skips([*found, Skipped("a", "shrunk", "liver", "nothing would change")]) == [
        "left kidney not shrunk: the prediction lacks it (2 cases).",
        "liver not shrunk: nothing would change (1 case).",
    ]


def test_a_drop_that_rounds_to_nothing_has_no_sign():
    assert (signed(-0.0004), signed(-0.0006), signed(12.34, 1)) == ("0.000", "−0.001", "12.3")


@pytest.mark.browser
def test_a_browser_opens_the_page_from_disk_without_error_or_request(page):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        tab = browser.new_page(viewport={"width": 400, "height": 900})
        tab.on("console", lambda message: said.append(message.text))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        spread_px = tab.evaluate("document.documentElement.scrollWidth")
        heights = tab.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith("file:")] == []
    assert spread_px <= 400  # maps and tables scroll sideways in boxes of their own
    assert len(heights) == 4
    assert all(height > 50 for height in heights)
