"""What `steelyard data check` shows: one row per case, then everything that is wrong or odd."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from steelyard.datasets.integrity import CASE_COLUMNS, PROBLEM_COLUMNS, Findings, case_rows, problem_rows


def show_findings(findings: Findings, console: Console) -> None:
    """The fingerprint's table, the problems' table where there are any, and a line that counts both."""
    for columns, rows in ((CASE_COLUMNS, case_rows(findings)), (PROBLEM_COLUMNS, problem_rows(findings))):
        if rows:
            table = Table(*columns, box=None, pad_edge=False)
            for row in rows:
                table.add_row(*row)
            console.print(table, "")
    console.print(counted(findings), highlight=False)


def counted(findings: Findings) -> str:
    """The line that counts cases, errors and warnings."""
    return f"{len(findings.cases)} cases read, {len(findings.errors)} errors, {len(findings.warnings)} warnings"
