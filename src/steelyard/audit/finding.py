"""What an audit says: one finding per check, each with the number that was measured."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

SCHEMA = 1

Verdict = Literal["pass", "fail", "declared", "note", "not offered"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One check of one loss.

    Attributes:
        check: its name, the same for every loss.
        verdict: `pass` or `fail`; `declared` for a gradient that is dead by an option which names it and which was seen
            to bring it to life; `note` for a number that is neither good nor bad; `not offered` where the loss has no
            such option, or cannot be asked. Only `fail` counts against a loss.
        measured: the numbers, in words.
        wanted: what they ought to be.
        explanation: what it means for a training; empty where nothing needs to be said.
        numbers: the same numbers for a program.
    """

    check: str
    verdict: Verdict
    measured: str
    wanted: str
    explanation: str = ""
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Audit:
    """All findings about one loss, with how it was found and called, and whose versions they hold for."""

    loss: str
    taken_for: str
    options: Mapping[str, Any]
    called_with: str
    roles: Mapping[str, str]
    versions: Mapping[str, str]
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict == "fail")

    def __getitem__(self, check: str) -> Finding:
        return next(finding for finding in self.findings if finding.check == check)

    def as_json(self) -> str:
        """The whole audit; a number that JSON has no word for becomes a string: "inf", "-inf" or "nan"."""
        return json.dumps(_plain({"schema": SCHEMA} | dataclasses.asdict(self)), indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        """For a failed assertion in a test: what failed, a line each."""
        lines = [f"{f.check}: {f.verdict}: {f.measured} (wanted: {f.wanted}). {f.explanation}" for f in self.failures]
        return "\n".join([f"{self.loss}: {len(self.failures)} of {len(self.findings)} checks failed", *lines])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
