"""The findings as a table for the terminal, with what each failure means below it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from steelyard.audit.finding import Audit


def table(audit: Audit) -> Any:
    """A rich table: one row per check."""
    from rich.table import Table

    shown = Table(show_lines=False)
    for title in ("check", "verdict", "measured", "wanted"):
        shown.add_column(title, no_wrap=title == "verdict", overflow="fold")
    for finding in audit.findings:
        shown.add_row(finding.check, finding.verdict, finding.measured, finding.wanted)
    return shown


def lines_above(audit: Audit) -> list[str]:
    """What was audited and how it was called."""
    options = ", ".join(f"{key}={value}" for key, value in audit.options.items()) or "none"
    roles = ", ".join(f"{role}: {option}" for role, option in audit.roles.items()) or "none"
    versions = ", ".join(f"{name} {version}" for name, version in audit.versions.items())
    return [
        f"{audit.loss}, taken for {audit.taken_for}; options: {options}",
        f"called with {audit.called_with}",
        f"options known: {roles}",
        versions,
    ]


def lines_below(audit: Audit) -> list[str]:
    """The explanations, and how many checks came out how."""
    told = [f"{f.check} ({f.verdict}): {f.explanation}" for f in audit.findings if f.explanation]
    counted = Counter(finding.verdict for finding in audit.findings)
    return [*told, ", ".join(f"{count} {verdict}" for verdict, count in counted.items())]
