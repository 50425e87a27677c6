"""What the README says works as it says."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console

from phantoms import write_chaos_patient
from steelyard.datasets.phantom import write_phantom
from steelyard.study.plan import make_plan
from steelyard.study.run import run_study
from steelyard.study.spec import parse_spec
from studies import steelyard, tiny_spec, write_patients

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Every `steelyard …` in code blocks and in the table of commands."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    cells = re.findall(r"^\| `(steelyard [^`]*)`", README, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines + cells if line.startswith("steelyard ")]


def test_the_library_example_runs() -> None:
    (example,) = blocks("python")
    names: dict[str, torch.Tensor] = {}
    exec(example, names)
    assert 0 < names["loss"].item() < 1
    assert names["logits"].grad is not None


def test_the_study_example_is_a_valid_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_DATA", "/somewhere")
    (example,) = blocks("toml")
    spec = parse_spec(tomllib.loads(example), source="README")
    assert len(spec.grid.loss) == 3


def test_the_commands_on_data_run_as_they_stand(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    told = [command for command in commands() if "$STEELYARD_DATA" in command or command[0] == "check"]
    assert ["data", "check", "$STEELYARD_DATA"] in told
    assert ["check", "studies/chaos-quick.toml"] in told
    for command in told:
        arguments = [str(root) if word == "$STEELYARD_DATA" else word for word in command]
        if "STUDY.toml" not in arguments:
            done = steelyard(
                *(str(ROOT / a) if a.endswith(".toml") else a for a in arguments), STEELYARD_DATA=str(root)
            )
            assert done.returncode == 0, done.stderr


def test_the_studies_to_run_have_plans(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    write_chaos_patient(root / "Train_Sets" / "MR", 5)  # for five folds
    told = [command for command in commands() if command[0] == "run" and command[1].startswith("studies/")]
    assert len(told) == 4
    for command in told:
        done = steelyard("run", ROOT / command[1], *command[2:], "--dry-run", STEELYARD_DATA=str(root))
        assert done.returncode == 0, done.stderr


def test_the_calibration_has_a_plan_and_a_price(tmp_path: Path) -> None:
    root = write_patients(tmp_path)
    write_chaos_patient(root / "Train_Sets" / "MR", 5)  # three outer folds, and two inner ones of three patients
    (told,) = [command for command in commands() if command[0] == "calibrate" and command[1].startswith("studies/")]
    done = steelyard("calibrate", ROOT / told[1], "--dry-run", STEELYARD_DATA=str(root))
    assert done.returncode == 0, done.stderr
    assert "epochs, as many as" in done.stdout


def test_a_scan_goes_in_and_organs_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = run_study(make_plan(tiny_spec(write_patients(tmp_path), tmp_path / "runs")), console=Console(quiet=True))
    write_phantom(tmp_path / "exam", patients=1, seed=3, size=64, slices=8)
    run = next(study.glob("*iou0515*"))
    in_use = {"predict", "evaluate", "figure", "view", "export-model"}
    told = [command for command in commands() if command[0] in in_use and "SOURCE" not in command]
    told = [command for command in told if any(word.startswith(("$RUN", "runs/chaos-quick")) for word in command)]
    assert {command[0] for command in told} == in_use
    for command in told:
        words = [word.replace("$RUN", str(run)).replace("runs/chaos-quick", str(study)) for word in command]
        done = steelyard(*words)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "organs" / "volumes.csv").is_file()
    assert (tmp_path / "model.png").is_file()
    assert (tmp_path / "network.onnx").is_file()


def test_the_audit_answers() -> None:
    (told,) = [command for command in commands() if command[0] == "audit" and ":" in command[1]]
    done = steelyard(*told, "--no-processes")
    assert done.returncode in (0, 1), done.stderr  # 1: it found something, which docs/audit.md tells
    assert "FP weight" in done.stdout


def test_every_command_and_option_of_the_table_exists() -> None:
    firsts = {command[0] for command in commands()}
    verbs = {"demo", "data", "ls", "check", "run", "status", "report", "paper", "metric-audit", "evaluate"}
    verbs |= {"calibrate", "train", "audit", "export-loss"}
    verbs |= {"export-model"}
    verbs |= {"predict"}
    verbs |= {"figure"}
    verbs |= {"view", "serve"}
    assert verbs == firsts
    for command in commands():
        words = [word.strip("[]") for word in command]
        verb = words[:2] if words[0] in ("data", "figure") and "|" not in words[1] else words[:1]
        told = steelyard(*verb, "--help")
        assert told.returncode == 0
        for word in words:
            if word.startswith("--"):
                assert word in told.stdout, f"{command}: {word}"


def test_every_file_that_it_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
