"""The page as a file: alone, safe, honest about what is missing, and readable without a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from steelyard.errors import BadData
from steelyard.report.write import write_report
from written_study import WrittenRun, block, write_images, write_prediction, write_study

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def runs() -> list[WrittenRun]:
    cases = {"mr-01_a": {"liver": 0.8, "left_kidney": 0.3}, "mr-02_a": {"liver": 0.6, "left_kidney": 0.0}}
    worse = {case: {organ: value / 2 for organ, value in values.items()} for case, values in cases.items()}
    return [
        WrittenRun("iou0515", cases, {"liver": 0.7, "left_kidney": 0.2}),
        WrittenRun("crossE", worse, {"liver": 0.35, "left_kidney": 0.1}),
        WrittenRun("dice", cases, {"liver": 0.123, "left_kidney": 0.123}, state="failed", reason="the loss became NaN"),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "small"
    planned = runs()
    write_study(folder, planned, warnings=("one fold: each loss was tested on one split.",))
    for case in planned[0].cases:
        write_images(folder, case, block(slice(0, 2), slice(1, 5)))
        for run in planned[:2]:
            write_prediction(folder, run, case, block(slice(0, 2), slice(2, 5)))
    return write_report(folder)


class Links(HTMLParser):
    """Every address that a browser would fetch, and whether there is a script."""

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


def test_the_page_fetches_nothing_and_runs_nothing(page):
    text = page.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.addresses
    beside = [a for a in links.addresses if not a.startswith(("#", "data:image/png;base64,", "cases/"))]
    assert beside == ["viewer.html"]
    assert (page.parent / "viewer.html").is_file()
    assert "script" not in links.tags
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", text)
    assert len(links.ids) == len(
        set(links.ids)
    )  # drawings share one page: a clip path named twice would cut the wrong one


def test_every_number_leads_to_the_cases_behind_it_and_every_case_to_its_file(page):
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    led = [address.split("#") for address in links.addresses if address.startswith("cases/")]
    assert len(led) > 40
    for file, anchor in led:
        cases = Links()
        cases.feed((page.parent / file).read_text(encoding="utf-8"))
        assert anchor in cases.ids
        assert len(cases.ids) == len(set(cases.ids))
        assert "script" not in cases.tags
        kept = [address for address in cases.addresses if not address.startswith("#")]
        files = {address.split("#")[0] for address in kept}
        assert {address for address in files if not (page.parent / file).parent.joinpath(address).exists()} == set()
        assert any(address.endswith("predictions/mr-01_a.nii.gz") for address in kept)


def test_every_picture_and_chart_has_a_text_alternative(page):
    drawings = re.findall(r"<svg [^>]*>", page.read_text(encoding="utf-8"))
    assert len(drawings) > 10
    assert all("aria-label=" in tag or 'aria-hidden="true"' in tag for tag in drawings)


def test_a_patient_is_named_on_each_dot(page):
    assert "<title>mr-02 · iou0515 · IoU 0.6</title>" in page.read_text(encoding="utf-8")


def test_a_failed_run_is_named_and_its_numbers_appear_nowhere(page):
    text = page.read_text(encoding="utf-8")
    assert "1 of 3 planned runs has no result (1 failed): listed below, it enters no number." in text
    row = text[text.index('<th scope="row">net-dice-f0-s1-0a1b2c3d</th>') :].split("</tr>")[0]
    assert "<strong>failed</strong>" in row
    assert "the loss became NaN" in row
    assert "0.123" not in text
    assert "† no run finished" in text


def test_two_patients_in_one_fold_allow_no_claim(page):
    text = page.read_text(encoding="utf-8")
    assert "2 held-out patients are too few for any paired test" in text
    assert "No claim about differences between losses can be made from 2 held-out patients, 1 fold and 1 seed." in text
    assert "one fold: each loss was tested on one split." in text


def test_no_path_of_the_machine_reaches_the_page(page):
    assert "/home/someone" not in page.read_text(encoding="utf-8")


def test_tables_are_written_in_three_formats(page):
    names = {path.name for path in (page.parent / "tables").iterdir()}
    for table in ("global", "organs", "pooled-and-patients", "patients", "metrics", "metrics-further"):
        assert {f"{table}.csv", f"{table}.md", f"{table}.tex"} <= names
    assert "liver,0.7,0.35," in (page.parent / "tables" / "organs.csv").read_text()


def test_writing_again_replaces_and_clears_tables_of_an_earlier_plan(tmp_path):
    folder = write_study(tmp_path / "small", runs())
    stale = write_report(folder).parent / "tables" / "organs-old-net.csv"
    stale.write_text("old")
    page = write_report(folder)
    assert not stale.exists()
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


def test_names_cannot_smuggle_markup_into_the_page(tmp_path):
    evil = '<script>alert("x")</script>'
    case = {"mr-01_a": {"liver": 0.5, "left_kidney": 0.5}}
    run = WrittenRun("<img src=x onerror=alert(1)>", case, {"liver": 0.5, "left_kidney": 0.5}, network="<b>net")
    page = write_report(write_study(tmp_path / "evil", [run], name=evil, warnings=(evil,)))
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    assert links.tags.isdisjoint({"script", "img"})
    assert "<b>net" not in page.read_text(encoding="utf-8")


def test_a_study_without_a_finished_run_still_has_a_page(tmp_path):
    planned = [WrittenRun("iou0515", state="missing"), WrittenRun("dice", state="unfinished")]
    text = write_report(write_study(tmp_path / "new", planned)).read_text(encoding="utf-8")
    assert "No run is finished: there is nothing to show yet." in text
    assert "2 of 2 planned runs have no result (1 running or interrupted, 1 not started)" in text
    assert "<strong>not started</strong>" in text
    assert "<strong>running or interrupted</strong></td><td>last written 20" in text


def test_two_networks_get_tables_of_their_own(tmp_path):
    case = {"mr-01_a": {"liver": 0.5, "left_kidney": 0.5}}
    planned = [
        WrittenRun(loss, case, {"liver": value, "left_kidney": value}, network=network)
        for network, loss, value in (("u/net", "a", 0.1), ("u/net", "b", 0.2), ("fcn", "a", 0.3), ("fcn", "b", 0.4))
    ]
    page = write_report(write_study(tmp_path / "two", planned))
    names = {path.name for path in (page.parent / "tables").iterdir()}
    assert {"organs-u-net.csv", "organs-fcn.csv", "global.csv"} <= names
    assert "liver,0.3,0.4" in (page.parent / "tables" / "organs-fcn.csv").read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no study.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "an object was wanted"),
        (json.dumps({"schema": 99}), "schema 1 is known, came 99"),
        (json.dumps({"schema": 1, "name": "x", "spec": {}}), "a field is missing"),
    ],
)
def test_a_damaged_study_ends_in_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(BadData, match=re.escape(words)) as raised:
        write_report(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_finished_run_with_a_damaged_table_ends_in_one_line(tmp_path):
    folder = write_study(tmp_path / "small", runs())
    (folder / runs()[0].name / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match=r"scores\.parquet: cannot be read as a table") as raised:
        write_report(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1280, 1600])
def test_a_browser_opens_the_page_from_disk_without_error_or_request(page, width):
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        spread = tab.evaluate("document.documentElement.scrollWidth")
        heights = tab.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
        ratio = tab.evaluate("(b => b.width / b.height)(document.querySelector('svg.slice').getBoundingClientRect())")
        first = tab.locator("#results td a").first
        number = first.inner_text().split()[0]
        first.click()
        landed = tab.locator(":target")
        heading, listed = landed.locator("h2").inner_text(), landed.inner_text()
        tab.locator(".tool a").click()
        back = tab.url
        browser.close()
    assert number == "0.900"  # the background of the first loss: its cases with all their organs
    assert heading == "All organs"
    assert "mr-02_a" in listed
    assert back == page.as_uri()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert spread <= width  # only tables scroll sideways, in boxes of their own
    assert all(height > 0 for height in heights)
    assert ratio == pytest.approx(18 / 8, rel=0.02)  # 6 columns of 3 mm by 4 rows of 2 mm
