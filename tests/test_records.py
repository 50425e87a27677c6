"""What Steelyard wrote, read again: the first wrong field is named, with its remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steelyard.errors import BadData
from steelyard.records import (
    crf_record,
    is_plain_name,
    prediction_record,
    read_object,
    read_table,
    run_record,
    study_record,
)
from written_study import WrittenRun, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", [WrittenRun("first", {"p1_t1_in": {"liver": 0.5}})])


def change(file: Path, place: tuple[Any, ...], value: Any) -> None:
    content = node = json.loads(file.read_text())
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("name",), "two\nlines", "name is of the wrong kind; came 'two\\nlines'"),
        (("spec",), None, "spec is of the wrong kind; came None"),
        (("spec", "train"), {"epochs": -1}, "spec.train.epochs is of the wrong kind; came -1"),
        (("spec", "crf"), 3, "spec.crf is of the wrong kind"),
        (("runs",), {}, "runs is of the wrong kind; came {}"),
        (("runs", 0), "first", "runs.run is of the wrong kind; came 'first'"),
        (("runs", 0), {}, "a field is missing: runs.run"),
        (("runs", 0, "run"), "../other", "runs.run is of the wrong kind; came '../other'"),
        (("runs", 0, "run"), "..", "runs.run is of the wrong kind"),
        (("runs", 0, "fold"), True, "runs.fold is of the wrong kind; came True"),
        (("runs", 0, "seed"), 10**30, "runs.seed is of the wrong kind"),
        (("runs", 0, "organ"), "lung", "runs.organ is of the wrong kind; came 'lung'"),
        (("label_set", "organs", 0, "name"), "a/b", "label_set.organs.name is of the wrong kind"),
        (("schema",), 2, "schema 1 is known, came 2. Use the version of Steelyard that wrote it."),
    ],
)
def test_a_wrong_field_of_a_study_is_named(study: Path, place: tuple[Any, ...], value: Any, told: str):
    assert study_record(study)["name"] == "small"
    change(study / "study.json", place, value)
    with pytest.raises(BadData) as error:
        study_record(study)
    assert told in str(error.value)
    assert "study.json" in str(error.value)


def test_what_may_be_left_out_is_not_missed(study: Path):
    content = json.loads((study / "study.json").read_text())
    del content["warnings"], content["label_set"]
    (study / "study.json").write_text(json.dumps(content))
    assert study_record(study)["warnings"] == []


def test_a_run_that_never_started_has_an_empty_record_and_a_damaged_one_none(study: Path, tmp_path: Path):
    assert run_record(tmp_path / "run.json") == {}
    file = next(study.glob("*/run.json"))
    assert run_record(file)["manifest"]["training_seconds"] == 60.0
    for value in (float("nan"), -1, "60", None, True, 1e300):
        change(file, ("manifest", "training_seconds"), value)
        with pytest.raises(BadData, match=r"manifest\.training_seconds is of the wrong kind"):
            run_record(file)


def test_records_of_a_crf_and_of_a_prediction_are_checked(tmp_path: Path):
    file = tmp_path / "run.json"
    case = {"voxels": 0, "voxels_changed": 0, "voxels_unlike_the_runs_own": 0, "seconds": 1.0}
    file.write_text(json.dumps({"crf": {}, "backend": "torch", "cases": [case]}))
    with pytest.raises(BadData, match=r"cases\.voxels is of the wrong kind; came 0"):  # by which shares are divided
        crf_record(file)
    file.write_text(json.dumps({"organs": ["liver"], "models": [], "cases": [{"name": "../x"}]}))
    with pytest.raises(BadData, match=r"cases\.name is of the wrong kind.* Predict into a new folder"):
        prediction_record(file)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe{}", b"[]", b"7", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object_is_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(BadData, match=r"a\.json.* Do this\.$") as error:
        read_object(tmp_path / "a.json", remedy="Do this.")
    assert error.value.file == tmp_path / "a.json"


def test_names_lead_nowhere():
    assert is_plain_name("mr-01_t1_in")
    assert not any(map(is_plain_name, ("", ".", "..", "a/b", "/", "a\0", "a\nb", 3, None)))


def test_a_table_is_given_as_asked_or_refused(tmp_path: Path):
    file = tmp_path / "a.parquet"
    pl.DataFrame({"n": ["1", "2"], "m": [1.5, None]}).write_parquet(file)
    assert read_table(file, {"n": pl.Int64})["n"].to_list() == [1, 2]
    for columns in ({"absent": pl.Int64}, {"m": pl.List(pl.Date)}):
        with pytest.raises(BadData, match=r"a\.parquet: cannot be read as a table"):
            read_table(file, columns)
    with pytest.raises(BadData, match="cannot be read as a table"):
        read_table(tmp_path / "absent.parquet")


def test_a_reader_of_tables_that_gives_up_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """polars panics where damaged bytes contradict each other; its panic is no Exception, and prints on its own."""

    def give_up(*_: object, **__: object) -> None:
        os.write(2, b"thread panicked\n")
        raise pl.exceptions.PanicException("left: 0, right: 4")

    monkeypatch.setattr(pl, "read_parquet", give_up)
    with pytest.raises(BadData, match="it is damaged"):
        read_table(tmp_path / "a.parquet")


def test_the_error_stream_is_silent_while_tables_are_read_and_then_speaks_again(tmp_path: Path):
    code = (
        "import os\nfrom steelyard.records import _silent\n"
        "with _silent():\n    os.write(2, b'panic')\nos.write(2, b'after')\n"
        "os.close(2)\nwith _silent():\n    pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "after"
