"""Both sides of a line in turn, each in its own process: the median of paired ratios, whatever else runs here."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.line import Limit, module_of

# glibc keeps freed arrays for later ones; above this size it then asks for each and returns it, which takes time
RETURN_FREED_ARRAYS = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MEMORY_REPEATS = 3
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """What came out for one line; seconds and MiB are medians, `ratio` is the median of peer/ours pair by pair.

    `low` and `high` are the quartiles of those ratios.
    """

    name: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    low: float
    high: float
    ours_mib: float
    peer_mib: float
    limit: Limit
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Side:
    """A process that does one side's work when told."""

    def __init__(self, name: str, side: str, *, threads: int, returns_memory: bool = False) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", name, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
            | (RETURN_FREED_ARRAYS if returns_memory else {}),
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


def measure(name: str) -> Measured:
    """Time the line: one pair to warm up, then `repeats` pairs, first one side first, then the other."""
    line = module_of(name).LINE
    sides = {side: Side(name, side, threads=line.threads) for side in ("ours", "peer")}
    for side in sides.values():
        side.ask("go")
    answers: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for number in range(line.repeats):
        for side in ("ours", "peer") if number % 2 else ("peer", "ours"):
            answers[side].append(sides[side].ask("go"))
    limit, notes = sides["ours"].ask("limit"), sides["ours"].ask("notes")["notes"]
    for side in sides.values():
        side.close()
    ratios = [
        peer["seconds"] / ours["seconds"] for ours, peer in zip(answers["ours"], answers["peer"], strict=True)
    ]  # fmt: skip
    low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Measured(
        name,
        *(statistics.median(a["seconds"] for a in answers[side]) for side in ("ours", "peer")),
        ratio,
        low,
        high,
        *(_extra_mib(name, side, threads=line.threads) for side in ("ours", "peer")),
        Limit(**limit),
        tuple(notes),
    )


def _extra_mib(name: str, side: str, *, threads: int) -> float:
    """Peak memory of the work beyond what the process held before, in a process that keeps no freed arrays."""
    process = Side(name, side, threads=threads, returns_memory=True)
    process.ask("go")
    found = [process.ask("go")["extra_mib"] for _ in range(MEMORY_REPEATS)]
    process.close()
    return statistics.median(found)
