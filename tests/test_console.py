"""Where commands print: tables in files and pipes are as wide as their words need."""

from __future__ import annotations

import pytest
from rich.table import Table

from steelyard.cli.app import console


def test_a_table_in_a_pipe_does_not_cut_names_into_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(*(["number"] * 9), "case")
    table.add_row(*(["1234.567"] * 9), "8_T1DUAL_DICOM_anon_InPhase")
    console().print(table)
    assert "8_T1DUAL_DICOM_anon_InPhase" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    assert console().width == 60
