"""What was measured last on each machine, line by line, in results.json: the page is made of it.

A partial run renews its part, and leaves what other machines measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pair import Measured, measured_from_json

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Result:
    """One line's numbers on one machine, with the day and the versions that they hold for; or why there are none.

    `load` is how many processes were running or waiting when it began: beyond 1.5 on two cores times mean little.
    """

    measured: Measured | None
    date: str
    versions: dict[str, str]
    load: float
    not_measured: str = ""


def read_results(path: Path = RESULTS) -> dict[str, dict[str, Result]]:
    """By machine, as `machine.describe` calls it, then by line."""
    if not path.exists():
        return {}
    return {
        machine: {name: _from_json(content) for name, content in lines.items()}
        for machine, lines in json.loads(path.read_text()).items()
    }


def write_results(results: dict[str, dict[str, Result]], path: Path = RESULTS) -> None:
    content = {
        machine: {name: _as_json(lines[name]) for name in sorted(lines)} for machine, lines in sorted(results.items())
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    measured = None if result.measured is None else _rounded(result.measured.as_json())
    return vars(result) | {"measured": measured}


def _from_json(content: dict[str, Any]) -> Result:
    measured = content["measured"]
    return Result(**content | {"measured": None if measured is None else measured_from_json(measured)})


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return float(f"{content:.4g}") if isinstance(content, float) else content
