"""The study behind `steelyard demo`: phantoms in the CHAOS layout, on the road that real data take."""

from __future__ import annotations

import tomllib
from pathlib import Path

from steelyard.study.spec import StudySpec, parse_spec

DEMO = Path(__file__).with_name("demo.toml")


def demo_spec(out: Path) -> StudySpec:
    """The demonstration with its data, runs and report under `out`."""
    content = tomllib.loads(DEMO.read_text(encoding="utf-8"))
    content["study"]["out"] = str(out)
    content["data"]["root"] = str(out / "demo-phantoms")
    return parse_spec(content, source="the demonstration")
