"""A run store edited by hand, half copied or of a newer version: every verb that reads it says so in one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from report.written_card import write_card
from steelyard.calibrate.final import train_final
from steelyard.cli import main
from steelyard.errors import BadSpec
from steelyard.serve.app import make_app
from steelyard.serve.store import Store
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from studies import tiny_spec, tiny_study, write_patients, write_toml

BAD_SPEC, BAD_DATA = 2, 3


@dataclass(frozen=True)
class Placed:
    """A finished study: its TOML file, its folder, and one of its runs."""

    toml: Path
    study: Path

    @property
    def run(self) -> Path:
        return next(self.study.glob("*/DONE")).parent


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    write_patients(root / "data")
    tables: dict[str, Any] = {"train": {"epochs": 1, "validate_every": 1}, "grid": {"loss": ["iou11"]}}
    with (root / "log").open("w") as log:
        run_study(make_plan(tiny_spec(root / "data", root / "runs", **tables)), console=Console(file=log))
    return root


@pytest.fixture
def placed(whole: Path, tmp_path: Path) -> Placed:
    shutil.copytree(whole / "runs", tmp_path / "runs")
    tables: dict[str, Any] = {"train": {"epochs": 1, "validate_every": 1}, "grid": {"loss": ["iou11"]}}
    toml = write_toml(tmp_path / "study.toml", tiny_study(whole / "data", tmp_path / "runs", **tables))
    return Placed(toml, tmp_path / "runs" / "tiny")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line in which the command line ends with that exit code, whatever the compiled parts print."""

    def call(code: int, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["steelyard", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        assert (end.value.code, len(said.err.splitlines())) == (code, 1), said.err
        assert "defect" not in said.err
        return said.err

    return call


def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def changed(**fields: Any) -> Callable[[Path], None]:
    """A JSON file with other fields; `...` takes one away."""

    def change(file: Path) -> None:
        content = json.loads(file.read_text()) | fields
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return change


def in_first_run(**fields: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text())
        content["runs"][0] |= fields
        file.write_text(json.dumps(content))

    return change


def without_column(name: str) -> Callable[[Path], None]:
    return lambda file: pl.read_parquet(file).drop(name).write_parquet(file)


def no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{}")


STUDY_DAMAGES = {
    "half of it": half,
    "empty": lambda file: file.write_text(""),
    "no text": no_text,
    "a list": lambda file: file.write_text("[]"),
    "nested without end": lambda file: file.write_text("[" * 100_000),
    "of a newer version": changed(schema=2),
    "without runs": changed(runs=...),
    "runs that are a number": changed(runs=7),
    "an organ without colour": changed(label_set={"organs": [{"name": "liver", "index": 1, "source_value": 63}]}),
    "a run that leads elsewhere": in_first_run(run="../../elsewhere"),
    "a run whose seed is a word": in_first_run(seed="one"),
}
LABEL_SET_ALONE = ("an organ without colour",)  # which not all verbs need


@pytest.mark.parametrize("damage", STUDY_DAMAGES)
def test_a_damaged_study_is_refused_by_name(damage: str, placed: Placed, refused: Callable[..., str], tmp_path: Path):
    run = placed.run
    STUDY_DAMAGES[damage](placed.study / "study.json")
    verbs: dict[str, tuple[object, ...]] = {
        "report": ("report", placed.toml),
        "view the study": ("view", placed.study),
        "view the run": ("view", run),
        "figure": ("figure", "slices", placed.study, tmp_path / "out.png"),
    }
    if damage not in LABEL_SET_ALONE:
        verbs |= {"run": ("run", placed.toml), "status": ("status", placed.toml)}
    for words in verbs.values():
        assert "study.json" in refused(BAD_DATA, *words)
    assert not (tmp_path / "out.png").exists()
    with TestClient(make_app(Store(placed.study.parent)), base_url="http://127.0.0.1") as client:
        page = client.get("/")
        assert page.status_code == 200
        assert ("study.json" in page.text) == (damage not in LABEL_SET_ALONE)


RUN_DAMAGES = {
    "half of it": half,
    "a list": lambda file: file.write_text("[]"),
    "nested without end": lambda file: file.write_text("[" * 100_000),
    "no text": no_text,
    "spec as a list": changed(spec=[]),
    "manifest as a text": changed(manifest="none"),
}


@pytest.mark.parametrize("damage", RUN_DAMAGES)
def test_a_damaged_record_of_a_run_is_refused_by_name(
    damage: str, placed: Placed, refused: Callable[..., str], tmp_path: Path
):
    RUN_DAMAGES[damage](placed.run / "run.json")
    verbs: list[tuple[object, ...]] = [
        ("status", placed.toml),
        ("predict", placed.run, tmp_path / "scan", tmp_path / "out"),
        ("export-model", placed.run, tmp_path / "net.onnx", "--to", "onnx"),
    ]
    if damage == "manifest as a text":  # a report takes its time before it comes to records
        verbs.append(("report", placed.toml))
    for words in verbs:
        assert "run.json" in refused(BAD_DATA, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        changed(schema=2),
        changed(label_set={"organs": []}),
        changed(label_set=None, study=7),
        changed(network="another"),
        changed(phases=-1),
        changed(phases=10**30),
    ],
)
def test_a_run_of_another_version_or_of_nonsense_is_no_network(
    damage: Callable[[Path], None], placed: Placed, refused: Callable[..., str], tmp_path: Path
):
    damage(placed.run / "run.json")
    for words in (
        ("predict", placed.run, tmp_path / "scan", tmp_path / "out"),
        ("export-model", placed.run, tmp_path / "net.onnx", "--to", "onnx"),
    ):
        assert placed.run.name in refused(BAD_DATA, *words)


@pytest.mark.parametrize("damage", [half, Path.unlink, lambda file: file.write_bytes(b"\xff" * 64)])
def test_damaged_weights_are_told(
    damage: Callable[[Path], None], placed: Placed, refused: Callable[..., str], tmp_path: Path
):
    damage(placed.run / "weights.safetensors")
    for words in (
        ("predict", placed.run, tmp_path / "scan", tmp_path / "out"),
        ("export-model", placed.run, tmp_path / "net.onnx", "--to", "onnx"),
    ):
        assert "weights.safetensors" in refused(BAD_DATA, *words)


@pytest.mark.parametrize(
    ("table", "damage"),
    [
        ("scores", half),
        ("scores", Path.unlink),
        ("scores", without_column("value")),
        ("scores", lambda file: file.write_bytes(b"PAR1" + b"\0" * 60 + b"PAR1")),
        ("counts", half),
        ("history", without_column("quantity")),
    ],
)
def test_a_damaged_table_is_told(table: str, damage: Callable[[Path], None], placed: Placed, refused, tmp_path: Path):
    file = placed.run / f"{table}.parquet"
    damage(file)
    assert f"{table}.parquet" in refused(BAD_DATA, "report", placed.toml)
    if table == "scores":
        assert "scores.parquet" in refused(BAD_DATA, "view", placed.study)
        assert "scores.parquet" in refused(BAD_DATA, "figure", "slices", placed.study, tmp_path / "out.png")


def test_a_damaged_prediction_is_told(placed: Placed, refused: Callable[..., str], tmp_path: Path):
    file = next((placed.run / "predictions").glob("*.nii.gz"))
    half(file)
    assert file.name in refused(BAD_DATA, "view", placed.study)
    assert file.name in refused(BAD_DATA, "figure", "slices", placed.study, tmp_path / "out.png")


def test_a_run_without_its_last_file_is_not_finished(placed: Placed, refused: Callable[..., str], tmp_path: Path):
    run = placed.run
    (run / "DONE").unlink()
    (run / "FAILED").write_bytes(b"no \xff\xfe memory\nat all\x1b[31m")
    for words in (
        ("predict", run, tmp_path / "scan", tmp_path / "out"),
        ("export-model", run, tmp_path / "net.onnx", "--to", "onnx"),
    ):
        assert "is not finished" in refused(BAD_DATA, *words)
    for words in (("view", placed.study), ("figure", "slices", placed.study, tmp_path / "out.png")):
        assert "no finished run" in refused(BAD_DATA, *words)


def test_a_damaged_state_of_a_training_is_told_and_left(placed: Placed, refused: Callable[..., str]):
    run = placed.run
    (run / "DONE").unlink()
    (run / "checkpoint.pt").write_bytes(b"PK\3\4 half a state")
    assert "checkpoint.pt" in refused(BAD_DATA, "run", placed.toml)
    assert (run / "checkpoint.pt").read_bytes() == b"PK\3\4 half a state"


@pytest.mark.parametrize(
    "damage", ["half of it", "of a newer version", "without loss", "nested without end", "no text"]
)
def test_a_damaged_card_is_told(damage: str, refused: Callable[..., str], tmp_path: Path):
    card = write_card(tmp_path / "card")
    damages = STUDY_DAMAGES | {"without loss": changed(loss=...)}
    damages[damage](card)
    for words in (
        ("train", card),
        ("predict", card, tmp_path / "scan", tmp_path / "out"),
        ("export-loss", card, tmp_path / "loss.json", "--to", "monai"),
    ):
        assert "card.json" in refused(BAD_DATA, *words)


def test_a_card_of_a_study_that_this_version_does_not_know_is_told(tmp_path: Path):
    card = write_card(tmp_path / "card", spec={"train": {"epochs": "many"}})
    with pytest.raises(BadSpec) as error:
        train_final(card, seed=None, console=Console())
    assert error.value.errors
    assert all("card.json" in line for line in error.value.errors)


def test_a_calibration_looks_at_its_studies_before_it_goes_on(whole: Path, tmp_path: Path, refused):
    tables: dict[str, Any] = {
        "train": {"epochs": 1, "validate_every": 1},
        "grid": {"loss": ["iou11"]},
        "folds": {"count": 2, "use": [0, 1]},
        "calibrate": {"values": [0.4, 0.6], "inner_folds": 2},
    }
    toml = write_toml(tmp_path / "c.toml", tiny_study(whole / "data", tmp_path / "runs", **tables))
    file = tmp_path / "runs" / "tiny" / "inner" / "study.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"schema": 2}')
    assert "study.json" in refused(BAD_DATA, "calibrate", toml)


@pytest.mark.parametrize(
    "content", [b"[organs\nliver = 1", b"\xff\xfe", b"x = " + b"[" * 100_000, b"[organs]\nliver = " + b"9" * 5000]
)
def test_a_damaged_label_file_is_told(content: bytes, tmp_path: Path, refused: Callable[..., str]):
    (tmp_path / "labels.toml").write_bytes(content)
    words = ("evaluate", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", "--labels", tmp_path / "labels.toml")
    assert "labels.toml" in refused(BAD_SPEC, *words)
