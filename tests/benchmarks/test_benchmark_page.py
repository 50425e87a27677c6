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
RESULT = Result(MEASURED, "2026-11-26", "a machine", {"torch": "2.13.0"}, load=0.4)


def test_a_line_shows_both_times_the_ratio_its_quartiles_and_the_memory():
    row = _row(page({"a1_loss": LINE}, {"a1_loss": RESULT}, []), "a1")
    assert row[3:8] == ["20.0 ms", "190 ms", "8.00 ms", "**9.50** (9.10–9.80)", "20 / 100 MiB"]
    assert row[8:] == ["≥ 8 ×; ≤ 0.33 of the peer's memory", "yes; yes"]


def test_a_wish_that_did_not_come_true_is_said_to_be_missed_each_for_itself():
    slow = replace(RESULT, measured=replace(MEASURED, ratio=7.9))
    assert _row(page({"a1_loss": LINE}, {"a1_loss": slow}, []), "a1")[9] == "**no**; yes"
    large = replace(RESULT, measured=replace(MEASURED, ours_mib=34.0))
    assert _row(page({"a1_loss": LINE}, {"a1_loss": large}, []), "a1")[9] == "yes; **no**"


def test_seconds_and_mib_have_upper_bounds():
    line = Line("a command", "another", wanted_seconds=0.3, wanted_mib=50.0)
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_seconds=0.31, ours_mib=49.0))] == [False, True]
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_seconds=0.29, ours_mib=51.0))] == [True, False]
    assert [wish.reached for wish in wishes(line, replace(MEASURED, ours_mib=None))] == [True, False]


def test_what_was_not_measured_is_on_the_page_with_the_reason():
    lacking = Result(None, "2026-11-26", "a machine", {}, load=0.4, not_measured="needs cuda")
    text = page({"i1_gpu": LINE, "i2_gpu": LINE}, {"i1_gpu": lacking}, [])
    assert _row(text, "i1")[9] == "not measured: needs cuda"
    assert _row(text, "i2")[9] == "not measured yet"
    assert _row(text, "i1")[8] == "≥ 8 ×; ≤ 0.33 of the peer's memory"


def test_why_a_line_is_not_reached_is_said_while_it_is_not():
    line = replace(LINE, shortfall="It would take another memory.")
    said = "- **a1** It would take another memory."
    assert said not in page({"a1_loss": line}, {"a1_loss": RESULT}, [])
    for result in (None, replace(RESULT, measured=None), replace(RESULT, measured=replace(MEASURED, ratio=7.9))):
        assert said in page({"a1_loss": line}, {} if result is None else {"a1_loss": result}, [])


def test_notes_name_the_limit_and_how_far_off_it_we_are():
    assert "limit 8.00 ms: 80 MB moved; ours is 2.50 × that. The compiler helps." in page(
        {"a1_loss": LINE}, {"a1_loss": RESULT}, []
    )


def test_a_busy_machine_is_owned_up_to():
    assert "busy" not in page({"a1_loss": LINE}, {"a1_loss": RESULT}, [])
    assert "a1 (7.5)" in page({"a1_loss": LINE}, {"a1_loss": replace(RESULT, load=7.5)}, [])


def test_lines_measured_on_two_days_are_told_apart():
    later = replace(RESULT, date="2026-12-01")
    text = page({"a1_loss": LINE, "b1_step": LINE}, {"a1_loss": RESULT, "b1_step": later}, [])
    assert "- a1: 2026-11-26, a machine; torch 2.13.0." in text
    assert "- b1: 2026-12-01, a machine; torch 2.13.0." in text


def test_rates_are_things_per_second():
    row = _row(page({"b1_step": replace(LINE, of=(64, "slices"))}, {"b1_step": RESULT}, []), "b1")
    assert row[3] == "20.0 ms (3200 slices/s)"  # 64 / 0.02
    assert row[4] == "190 ms (337 slices/s)"  # 64 / 0.19


def test_times_have_three_digits_and_a_unit_that_fits():
    assert [seconds_said(value) for value in (75.4, 0.0123, 4.5e-6, 3e-9)] == [
        "75.4 s",
        "12.3 ms",
        "4.50 µs",
        "3.00 ns",
    ]


def test_growth_tells_what_is_worse_than_linear():
    sizes = (1, 2, 4, 8, 16, 32)
    squared = Growth("x", "things", sizes, tuple(1e-3 * n**2 for n in sizes), (1.0,) * 6)
    text = page({}, {}, [squared])
    assert "| things | 1 – 32 | 2.00 | – | **yes** |" in text


def test_results_come_back_from_their_file_as_they_were(tmp_path):
    lacking = Result(None, "2026-11-26", "a machine", {}, load=1.0, not_measured="needs cuda")
    write_results({"a1_loss": RESULT, "i1_gpu": lacking}, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == {"a1_loss": RESULT, "i1_gpu": lacking}
    assert read_results(tmp_path / "none.json") == {}


def _row(text: str, number: str) -> list[str]:
    """The cells of a line's row."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {number} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_what_a_machine_with_a_gpu_measured_stands_until_another_such_machine_measures_it_again():
    lacking = Result(None, "2026-11-26", "a machine", {}, load=0.4, not_measured="needs cuda")
    later = replace(RESULT, date="2026-11-27")
    assert kept_or_new(RESULT, lacking) == RESULT
    assert kept_or_new(lacking, RESULT) == RESULT
    assert kept_or_new(RESULT, later) == later
    assert kept_or_new(None, lacking) == lacking
