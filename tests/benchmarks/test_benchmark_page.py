"""The page of measurements, made from numbers that were never measured."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.__main__ import kept_or_new
from benchmarks.growth_fit import Growth
from benchmarks.line import Limit, Line
from benchmarks.page import page, seconds_said
from benchmarks.pair import Measured
from benchmarks.results import Result, read_results, write_results
from benchmarks.verdict import wishes

LINE = Line("a loss", "another tool", wanted=8.0, wanted_memory=1 / 3)
MEASURED = Measured(
    "a1_loss",
    ours_seconds=0.02,
    peer_seconds=0.19,
    ratio=9.5,
    low=9.1,
    high=9.8,
    ours_mib=20.0,
    peer_mib=100.0,
    limit=Limit(0.008, "80 MB moved"),
    notes=("the compiler helps",),
    repeats=31,
)
RESULT = Result(MEASURED, "2026-11-26", {"torch": "2.13.0"}, load=0.4)
HERE = "a machine, two threads"


def test_a_line_shows_both_times_the_ratio_its_quartiles_and_the_memory():
    row = _rows(_page(RESULT), "a1")[1]
    assert row[1:6] == ["20.0 ms", "190 ms", "8.00 ms", "**9.50** (9.10–9.80)", "20 / 100 MiB"]
    assert row[6:] == ["≥ 8 ×; ≤ 0.33 of the peer's memory", "yes; yes"]


def test_a_wish_that_did_not_come_true_is_said_to_be_missed_each_for_itself():
    slow = replace(RESULT, measured=replace(MEASURED, ratio=7.9))
    assert [row[-1] for row in _rows(_page(slow), "a1")] == ["**7.90 ×, short**", "**no**; yes"]
    large = replace(RESULT, measured=replace(MEASURED, ours_mib=34.0))
    assert [row[-1] for row in _rows(_page(large), "a1")] == ["**9.50 ×, short**", "yes; **no**"]


def test_machines_stand_side_by_side_the_one_that_measured_most_first():
    results = {
        "small, one thread": {"a1_loss": replace(RESULT, measured=replace(MEASURED, ratio=7.0))},
        HERE: {"a1_loss": RESULT, "b1_step": replace(RESULT, measured=replace(MEASURED, ratio=8.5))},
    }
    text = page({"a1_loss": LINE, "b1_step": LINE, "c1_none": LINE}, results, [])
    assert "| | what | peer | wanted | a machine | small |" in text
    assert [_rows(text, number)[0][4:] for number in ("a1", "b1", "c1")] == [
        ["9.50 ×", "**7.00 ×, short**"],
        ["8.50 ×", "–"],
        ["–", "–"],
    ]
    assert text.index("## a machine, two threads") < text.index("## small, one thread")
    assert [row[4] for row in _rows(text, "a1")[1:]] == ["**9.50** (9.10–9.80)", "**7.00** (9.10–9.80)"]


def test_where_a_time_is_wanted_it_stands_beside_the_ratio():
    line = Line("a command", "another", wanted_seconds=0.3)
    assert _rows(page({"g1_help": line}, {HERE: {"g1_help": RESULT}}, []), "g1")[0][4] == "9.50 ×, 20.0 ms"


def test_seconds_and_mib_have_upper_bounds():
    line = Line("a command", "another", wanted_seconds=0.3, wanted_mib=50.0)
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_seconds=0.31, ours_mib=49.0))] == [False, True]
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_seconds=0.29, ours_mib=51.0))] == [True, False]
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_mib=None))] == [True, False]


def test_what_a_machine_lacks_is_said_there():
    lacking = Result(None, "2026-11-26", {}, load=0.4, not_measured="needs cuda")
    text = page({"a1_loss": LINE, "i1_gpu": LINE}, {HERE: {"a1_loss": RESULT, "i1_gpu": lacking}}, [])
    assert "Not measured here: i1 (needs cuda)." in text
    assert [row[4] for row in _rows(text, "i1")] == ["–"]
    assert "Not measured here" not in _page(RESULT)


def test_why_a_line_is_not_reached_is_said_while_it_is_not_and_where():
    line = replace(LINE, shortfall="It would take another memory.")
    slow = replace(RESULT, measured=replace(MEASURED, ratio=7.9))
    assert "another memory" not in page({"a1_loss": line}, {HERE: {"a1_loss": RESULT}}, [])
    where = {"a1_loss": line}, {HERE: {"a1_loss": RESULT}, "small, one": {"a1_loss": slow}}, []
    assert "- **a1** (small) It would take another memory." in page(*where)
    for results in ({}, {HERE: {"a1_loss": replace(RESULT, measured=None)}}):
        assert "- **a1** (measured nowhere yet) It would take another memory." in page({"a1_loss": line}, results, [])


def test_notes_name_the_limit_and_how_far_off_it_we_are():
    assert "limit 8.00 ms: 80 MB moved; ours is 2.50 × that. The compiler helps." in _page(RESULT)


def test_a_busy_machine_is_owned_up_to():
    assert "busy" not in _page(RESULT)
    assert "a1 (7.5)" in _page(replace(RESULT, load=7.5))


def test_lines_measured_on_two_days_are_told_apart():
    later = replace(RESULT, date="2026-12-01")
    text = page({"a1_loss": LINE, "b1_step": LINE}, {HERE: {"a1_loss": RESULT, "b1_step": later}}, [])
    assert "- a1: 2026-11-26; torch 2.13.0." in text
    assert "- b1: 2026-12-01; torch 2.13.0." in text


def test_rates_are_things_per_second():
    row = _rows(page({"b1_step": replace(LINE, of=(64, "slices"))}, {HERE: {"b1_step": RESULT}}, []), "b1")[1]
    assert row[1] == "20.0 ms (3200 slices/s)"  # 64 / 0.02
    assert row[2] == "190 ms (337 slices/s)"  # 64 / 0.19


def test_what_takes_long_is_counted_by_the_hour():
    slow = replace(RESULT, measured=replace(RESULT.measured, ours_seconds=90.0, peer_seconds=120.0))
    row = _rows(page({"c2_runs": replace(LINE, of=(2, "runs"))}, {HERE: {"c2_runs": slow}}, []), "c2")[1]
    assert row[1] == "90.0 s (80.0 runs/h)"  # 2 in 90 s
    assert row[2] == "120 s (60.0 runs/h)"


def test_times_have_three_digits_and_a_unit_that_fits():
    assert [seconds_said(value) for value in (75.4, 0.0123, 4.5e-6, 3e-9)] == [
        "75.4 s",
        "12.3 ms",
        "4.50 µs",
        "3.00 ns",
    ]


def test_growth_tells_what_is_worse_than_linear():
    sizes = (1, 2, 4, 8, 16, 32)
    squared = Growth("x", "things", sizes, tuple(1e-3 * n**2 for n in sizes), (1.0,) * 6, "at noon")
    text = page({}, {}, [squared])
    assert "| things | 1 – 32 | 2.00 | – | **yes** |" in text
    assert "Measured at noon." in text


def test_results_come_back_from_their_file_as_they_were(tmp_path):
    lacking = Result(None, "2026-11-26", {}, load=1.0, not_measured="needs cuda")
    results = {HERE: {"a1_loss": RESULT, "i1_gpu": lacking}, "another": {"a1_loss": replace(RESULT, load=0.5)}}
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results
    assert read_results(tmp_path / "none.json") == {}


def test_what_was_measured_stands_where_the_line_lacks_something_now():
    lacking = Result(None, "2026-11-27", {}, load=0.4, not_measured="needs STEELYARD_DATA")
    later = replace(RESULT, date="2026-11-27")
    assert kept_or_new(RESULT, lacking) == RESULT
    assert kept_or_new(lacking, RESULT) == RESULT
    assert kept_or_new(RESULT, later) == later
    assert kept_or_new(None, lacking) == lacking


def _page(result: Result) -> str:
    return page({"a1_loss": LINE}, {HERE: {"a1_loss": result}}, [])


def _rows(text: str, number: str) -> list[list[str]]:
    """The cells of a line's rows: in the table of all machines, then in each machine's own."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
