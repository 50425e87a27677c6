"""What all tests share: the real patients where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def chaos_root() -> Path:
    """The folder that holds Train_Sets, named by STEELYARD_DATA; the test is skipped where there is none."""
    named = os.environ.get("STEELYARD_DATA", "")
    if not named or not (Path(named) / "Train_Sets").is_dir():
        pytest.skip("STEELYARD_DATA names no folder with Train_Sets: the real CHAOS patients are not at hand")
    return Path(named)
