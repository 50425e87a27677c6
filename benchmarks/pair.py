"""Both sides of a line in turn, each in its own process: the median of paired ratios, whatever else runs here."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.line import Limit, Line, module_of

# glibc keeps freed arrays for later ones; above this size it then asks for each and returns it, which takes time
RETURN_FREED_ARRAYS = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MEMORY_REPEATS = 3
SECONDS_BETWEEN_TURNS = 0.05  # until then the other side's threads may still be awake, waiting for work on our cores
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """What came out for one line; seconds and MiB are medians, `ratio` is the median of peer/ours pair by pair.

    `low` and `high` are the quartiles of those ratios. Memory is None where it was not measured.
    """

    name: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    low: float
    high: float
    ours_mib: float | None
    peer_mib: float | None
    limit: Limit
    notes: tuple[str, ...]
    repeats: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measured_from_json(content: dict[str, Any]) -> Measured:
    return Measured(**content | {"limit": Limit(**content["limit"]), "notes": tuple(content["notes"])})


class Side:
    """A process that does one side's work when told."""

    def __init__(self, name: str, side: str, *, threads: int, returns_memory: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", name, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads) | (RETURN_FREED_ARRAYS if returns_memory else {}),
            cwd=ROOT,
        )
        self._read()

    def ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"a side ended with {self._process.wait()} instead of answering")
        return json.loads(said)


def environment(threads: int) -> dict[str, str]:
    """Of every process that is measured: so many threads, and this package and the tests' stub importable."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def measure(name: str, *, repeats: int | None = None) -> Measured:
    """Compare the two sides' results, then time them in pairs, first one side first, then the other.

    Args:
        repeats: fewer or more pairs than the line asks for.

    Raises:
        RuntimeError: the two sides do not compute the same, or one of them ends.
    """
    line = module_of(name).LINE
    command = [sys.executable, "-m", "benchmarks.side", name, "same"]
    if subprocess.run(command, env=environment(line.threads), cwd=ROOT, check=False).returncode:
        raise RuntimeError(f"{name}: the two sides do not compute the same, so no time of theirs is worth comparing")
    answers, limit, notes = _timed(name, line, line.repeats if repeats is None else repeats)
    ratios = [peer / ours for ours, peer in zip(answers["ours"], answers["peer"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    ours_mib, peer_mib = (
        _extra_mib(name, side, threads=line.threads) if line.measures_memory else None for side in ("ours", "peer")
    )
    return Measured(
        name,
        ours_seconds=statistics.median(answers["ours"]),
        peer_seconds=statistics.median(answers["peer"]),
        ratio=ratio,
        low=low,
        high=high,
        ours_mib=ours_mib,
        peer_mib=peer_mib,
        limit=limit,
        notes=notes,
        repeats=len(ratios),
    )


def _timed(name: str, line: Line, repeats: int) -> tuple[dict[str, list[float]], Limit, tuple[str, ...]]:
    sides = {side: Side(name, side, threads=line.threads) for side in ("ours", "peer")}
    for _ in range(line.warm_ups):
        for side in sides.values():
            side.ask("go")
    answers: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(repeats):
        for which in ("ours", "peer") if number % 2 else ("peer", "ours"):
            time.sleep(SECONDS_BETWEEN_TURNS)
            answers[which].append(sides[which].ask("go")["seconds"])
    limit, notes = sides["ours"].ask("limit"), sides["ours"].ask("notes")["notes"]
    for side in sides.values():
        side.close()
    return answers, Limit(**limit), tuple(notes)


def _extra_mib(name: str, side: str, *, threads: int) -> float:
    """Peak memory of the work beyond what the process held before, in a process that keeps no freed arrays."""
    process = Side(name, side, threads=threads, returns_memory=True)
    process.ask("go")
    found = [process.ask("go")["extra_mib"] for _ in range(MEMORY_REPEATS)]
    process.close()
    return statistics.median(found)
