"""Errors that teach: one line each, an exit code each."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from steelyard.errors import BadData, BadSpec, Interrupted, RunsFailed, SteelyardError, unknown_name

KNOWN = ["tversky", "diceBK", "dice", "crossE"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadSpec("a"), 2), (BadData("a"), 3), (Interrupted("a"), 4), (RunsFailed("a"), 1), (SteelyardError("a"), 1)],
)
def test_every_kind_of_error_has_its_exit_code_and_is_caught_as_one_family(error: SteelyardError, code: int):
    assert error.exit_code == code
    assert isinstance(error, SteelyardError)
    assert str(error) == "a"


def test_a_spec_may_have_several_errors_one_line_each():
    error = BadSpec("no loss is named 'x'.", "count must be at least 2; came 1.")
    assert (
        str(error).splitlines() == list(error.errors) == ["no loss is named 'x'.", "count must be at least 2; came 1."]
    )


def test_bad_data_remembers_its_file():
    assert BadData("cut short", file=Path("a/b.dcm")).file == Path("a/b.dcm")
    assert BadData("no patients").file is None


def test_a_misspelt_name_is_told_the_nearest_one_and_all_known():
    line = unknown_name("loss", "tverski", KNOWN)
    assert line == "no loss is named 'tverski'. Did you mean 'tversky'? Known: crossE, dice, diceBK, tversky."


def test_capitals_do_not_hide_the_nearest_name_and_it_keeps_its_own():
    assert "Did you mean 'diceBK'?" in unknown_name("loss", "DICEBk", KNOWN)
    assert "Did you mean 'crossE'?" in unknown_name("loss", "crosse", KNOWN)


def test_a_name_like_no_other_gets_no_guess():
    line = unknown_name("loss", "zzzz", KNOWN)
    assert "mean" not in line
    assert "Known: crossE" in line


@pytest.mark.parametrize(
    ("came", "line"),
    [
        ("first\nsecond\r\n third\u2028fourth\x85fifth", "first second third fourth fifth"),
        ("red \x1b[31m and nul \0", "red \ufffd[31m and nul \ufffd"),
        ("turned \u202e round", "turned \ufffd round"),
        ("half a pair \ud800", "half a pair \ufffd"),
        ("α, 漢字 and 🧪 stay", "α, 漢字 and 🧪 stay"),
    ],
)
def test_an_error_is_one_line_whatever_came_with_a_file(came: str, line: str):
    assert str(BadData(came)) == line
    assert BadSpec(came, "b").errors == (line, "b")
    assert str(BadSpec(came)).encode() == line.encode()


def test_a_line_without_end_loses_its_middle_and_keeps_its_remedy():
    line = str(BadData("x.toml: came " + "a" * 100_000 + ". Correct it."))
    assert line.startswith("x.toml: came aaa")
    assert line.endswith("aaa. Correct it.")
    assert len(line) < 2010


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(BadSpec("first\nline", "second")))
    assert error.errors == ("first line", "second")
    assert pickle.loads(pickle.dumps(BadData("cut", file=Path("a")))).file == Path("a")
