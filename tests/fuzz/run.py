"""Shares inputs out among the targets, each in a process that may die without harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from subprocess import TimeoutExpired

from fuzz.targets import TARGETS
from fuzz.worker import Finding
from warm_process import WarmProcess

PER_PROCESS = 500  # inputs; then a fresh process, whose memory is its own
MOST_SECONDS = 900.0  # for them, by the clock: a process that waits for something uses no processor time


def shares(inputs: int, names: Sequence[str]) -> dict[str, int]:
    """How many inputs each target gets."""
    whole = sum(TARGETS[name].share for name in names)
    return {name: max(1, round(inputs * TARGETS[name].share / whole)) for name in names}


def fuzz(
    inputs: int, *, first: int = 0, names: Sequence[str] = tuple(TARGETS), say: Callable[[str], object] = lambda _: None
) -> Iterator[Finding]:
    """The findings among that many inputs, numbered from `first` within each target."""
    for name, count in shares(inputs, names).items():
        say(f"{name}: {count} inputs")
        start, end = first, first + count
        while start < end:
            findings, start = _batch(name, start, min(PER_PROCESS, end - start))
            yield from findings


def _batch(name: str, first: int, count: int) -> tuple[list[Finding], int]:
    """The findings and where to go on: behind the last input, or behind the one that killed the process."""
    process = WarmProcess("from fuzz.worker import main; main()", name, first, count)
    try:
        out, err = process.communicate(MOST_SECONDS)
        ending = f"the process died ({process.wait()}): {' '.join(err.split())[-600:]}"
    except TimeoutExpired:
        process.kill()
        out, ending = "", f"the process hung for {MOST_SECONDS:g} seconds"
    lines = out.splitlines()
    findings = [Finding(**json.loads(line.removeprefix("found "))) for line in lines if line.startswith("found ")]
    if lines and lines[-1] == "end":
        return findings, first + count
    at = [int(line.rpartition("/")[2]) for line in lines if line.startswith("at ")]
    if not at:
        raise RuntimeError(f"{name}: nothing was read: {ending}")
    return [*findings, Finding(name, at[-1], "dies", "", ending)], at[-1] + 1
