"""Fuzzing at length: `make fuzz`, or `python -m fuzz --inputs 10000` in the folder tests.

`python -m fuzz --show dicom 1234 folder` lays out one input again and prints how reading it ends.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from fuzz.run import fuzz
from fuzz.targets import TARGETS


def main() -> int:
    """The exit code is 1 when there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many, over all targets")
    parser.add_argument("--first", type=int, default=0, help="the first number: others than before find more")
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="only this one; may be repeated")
    parser.add_argument("--show", nargs=3, metavar=("TARGET", "NUMBER", "FOLDER"), help="one input again")
    given = parser.parse_args()
    if given.show:
        from fuzz.worker import show

        show(given.show[0], int(given.show[1]), Path(given.show[2]))
        return 0
    counts: Counter[tuple[str, str, str]] = Counter()
    for found in fuzz(given.inputs, first=given.first, names=given.target or list(TARGETS), say=print):
        key = (found.target, found.what, found.where)
        counts[key] += 1
        if counts[key] <= 2:
            print(f"{found.target}/{found.number}: {found.what} at {found.where}: {found.told}", flush=True)
    print(f"{sum(counts.values())} findings of {len(counts)} kinds")
    for (target, what, where), count in counts.most_common():
        print(f"{count:6} × {target}: {what} at {where}")
    return int(bool(counts))


if __name__ == "__main__":
    sys.exit(main())
