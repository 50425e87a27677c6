"""`make bench-check`: fails where a ratio has fallen, or memory has grown, beyond what chance explains.

    python -m benchmarks.check [NAME …]     measure the lines of benchmarks/baseline.json again and compare
    python -m benchmarks.check --accept     what benchmarks/results.json holds becomes the baseline

By hand, on a quiet machine: ratios of a busy one wander by more than the tolerance. A machine is compared with itself:
what another processor does faster says nothing about this code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.__main__ import chosen_lines, measured_now, said
from benchmarks.machine import describe
from benchmarks.pair import Measured
from benchmarks.results import Result, read_results

BASELINE = Path(__file__).with_name("baseline.json")
RATIO_TOLERANCE = 0.2  # medians of paired ratios on a quiet machine differ by a tenth from run to run
MEMORY_TOLERANCE = 0.1
MEMORY_NOISE_MIB = 8.0  # of libraries that load code at their first use


def regressions(baseline: Mapping[str, Mapping[str, Any]], found: Mapping[str, Measured]) -> list[str]:
    """A sentence for each line that is worse than its baseline by more than the tolerances."""
    worse = []
    for name, measured in found.items():
        before = baseline[name]
        if measured.ratio < before["ratio"] * (1 - RATIO_TOLERANCE):
            worse.append(
                f"{name}: ratio {measured.ratio:.2f}, was {before['ratio']:.2f}; tolerance {RATIO_TOLERANCE:.0%}"
            )
        memory = before["ours_mib"]
        if memory is None or measured.ours_mib is None:
            continue
        if measured.ours_mib > memory * (1 + MEMORY_TOLERANCE) + MEMORY_NOISE_MIB:
            worse.append(
                f"{name}: {measured.ours_mib:.0f} MiB, was {memory:.0f} MiB; tolerance {MEMORY_TOLERANCE:.0%} and "
                f"{MEMORY_NOISE_MIB:.0f} MiB"
            )
    return worse


def baseline_of(results: Mapping[str, Mapping[str, Result]]) -> dict[str, dict[str, dict[str, Any]]]:
    """By machine, ratio and memory of every line that was measured there."""
    return {
        machine: {
            name: {"ratio": result.measured.ratio, "ours_mib": result.measured.ours_mib}
            for name, result in sorted(lines.items())
            if result.measured is not None
        }
        for machine, lines in sorted(results.items())
    }


def baseline_here(content: Mapping[str, Any], machine: str) -> Mapping[str, Mapping[str, Any]]:
    """This machine's lines.

    Raises:
        SystemExit: nothing was ever accepted on a machine like this one.
    """
    if machine not in content:
        raise SystemExit(
            f"{BASELINE.name} has nothing from this machine ({machine}), only from {'; '.join(content) or 'none'}. "
            "Measure on a quiet machine (make bench), then python -m benchmarks.check --accept."
        )
    return content[machine]


def compared_lines(named: list[str], baseline: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines named, or all that this machine's baseline has.

    Raises:
        SystemExit: a line is named that it lacks.
    """
    chosen = chosen_lines(named)
    lacking = [name for name in chosen if name not in baseline]
    if named and lacking:
        raise SystemExit(
            f"{BASELINE.name} has nothing of {', '.join(lacking)} from this machine. "
            f"Measure (python -m benchmarks {' '.join(lacking)}), then python -m benchmarks.check --accept."
        )
    return [name for name in chosen if name in baseline]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--accept", action="store_true")
    given = parser.parse_args()
    if given.accept:
        BASELINE.write_text(json.dumps(baseline_of(read_results()), indent=1) + "\n")
        print(f"baseline: {BASELINE}")
        return 0
    baseline = baseline_here(json.loads(BASELINE.read_text()) if BASELINE.exists() else {}, describe())
    found = {}
    for name in compared_lines(given.names, baseline):
        result = measured_now(name)
        print(said(name, result), flush=True)
        if result.measured is not None:
            found[name] = result.measured
    worse = regressions(baseline, found)
    for sentence in worse:
        print(f"worse: {sentence}")
    print(f"{len(found)} lines, {len(worse)} regressions")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
