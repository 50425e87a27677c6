"""`python -m benchmarks [NAME …]`: measure lines, all when none is named, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime

from benchmarks.growth_fit import read_growth
from benchmarks.line import line_names, missing, module_of
from benchmarks.machine import describe, versions
from benchmarks.page import PAGE, QUIET, write_page
from benchmarks.pair import measure
from benchmarks.results import Result, read_results, write_results
from benchmarks.verdict import wishes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="lines, or the beginnings of their names: a1, b")
    parser.add_argument("--repeats", type=int, help="pairs of each line, instead of what it asks for")
    parser.add_argument("--page", action="store_true", help="measure nothing, only write the page again")
    given = parser.parse_args()
    chosen = [] if given.page else chosen_lines(given.names)
    everywhere, failed = read_results(), []
    here = everywhere.setdefault(describe(), {}) if chosen else {}
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            here[name] = kept_or_new(here.get(name), measured_now(name, repeats=given.repeats))
        except RuntimeError as error:
            failed.append(f"{name}: {error}")
            continue
        print(said(name, here[name]), flush=True)
        write_results(everywhere)
    write_page({name: module_of(name).LINE for name in line_names()}, everywhere, read_growth())
    print(f"page: {PAGE}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def chosen_lines(names: list[str]) -> list[str]:
    """The lines whose names begin so; all when nothing is named."""
    known = line_names()
    unknown = [name for name in names if not any(line.startswith(name) for line in known)]
    if unknown:
        raise SystemExit(f"no line is named {', '.join(unknown)}. Known: {', '.join(known)}.")
    return [line for line in known if not names or any(line.startswith(name) for name in names)]


def measured_now(name: str, *, repeats: int | None = None) -> Result:
    """The line measured here, or the reason why it cannot be."""
    line = module_of(name).LINE
    load = os.getloadavg()[0]
    if load > QUIET:
        print(f"the machine is busy (load {load:.1f}): times will be too long", file=sys.stderr)
    lacking = missing(line)
    found = None if lacking else measure(name, repeats=repeats)
    today = datetime.now(UTC).date().isoformat()
    reason = f"needs {', '.join(lacking)}" if lacking else ""
    return Result(found, today, versions(), round(load, 1), reason)


def kept_or_new(before: Result | None, now: Result) -> Result:
    """What was measured stands where the line lacks something now, such as a variable of the environment."""
    return before if now.measured is None and before is not None and before.measured is not None else now


def said(name: str, result: Result) -> str:
    measured = result.measured
    if measured is None:
        return f"{name}: {result.not_measured}"
    found = ", ".join(
        f"{wish.words} {'reached' if wish.reached else 'NOT reached'}"
        for wish in wishes(module_of(name).LINE, measured)
    )
    memory = "" if measured.ours_mib is None else f", {measured.ours_mib:.0f} / {measured.peer_mib:.0f} MiB"
    return (
        f"{name}: {measured.ours_seconds:.4g} s, peer {measured.peer_seconds:.4g} s, "
        f"limit {measured.limit.seconds:.3g} s, ratio {measured.ratio:.2f} "
        f"({measured.low:.2f}–{measured.high:.2f}){memory}: {found}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
