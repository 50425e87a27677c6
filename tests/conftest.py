"""What all tests share: checked tensor shapes, and the real patients where they are at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest
import torch

# From here on a tensor that breaks the shape or type in a signature fails its test. Only tests check: beartype breaks
# torch.compile. This must come before the modules are first imported.
jaxtyping.install_import_hook(
    ["steelyard.losses", "steelyard.batches", "steelyard.networks", "steelyard.predict"], "type_checks.checked"
)

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is first imported, by whomever


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """For tests of what a user sees who hands over something of a wrong type or shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def chaos_root() -> Path:
    """The folder that holds Train_Sets, named by STEELYARD_DATA; the test is skipped where there is none."""
    named = os.environ.get("STEELYARD_DATA", "")
    if not named or not (Path(named) / "Train_Sets").is_dir():
        pytest.skip("STEELYARD_DATA names no folder with Train_Sets: the real CHAOS patients are not at hand")
    return Path(named)


@pytest.fixture(scope="session")
def dicom_cases() -> Path:
    """The folder of published DICOM series with NIfTI files beside them; the test is skipped where there is none."""
    cases = Path(os.environ.get("STEELYARD_DATA", "")) / "dicom-cases"
    if not os.environ.get("STEELYARD_DATA") or not cases.is_dir():
        pytest.skip("STEELYARD_DATA names no folder with dicom-cases: the published DICOM series are not at hand")
    return cases


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls `steelyard` with arguments, in this process."""
    from steelyard.cli import main

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["steelyard", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return call
