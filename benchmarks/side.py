"""One side of a line in a process of its own: prepares once, then does the work whenever it is told, and times it.

Speaks JSON lines: `{"ready": true}`, then for each line read `{"seconds": …, "extra_mib": …}`. What the work prints
goes to standard error. Extra memory is only that of arrays when the allocator gives freed ones back at once, as `pair`
tells it to in the pairs that measure memory. The side `same` is neither: it compares the two, and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.line import module_of


def main() -> None:
    name, side = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import torch

    module = module_of(name)
    torch.set_num_threads(module.LINE.threads)
    if side == "same":
        module.same()
        return
    work, wait = getattr(module, side)(), getattr(module, "wait", nothing)
    answers.write(json.dumps({"ready": True}) + "\n")
    for asked in sys.stdin:
        if asked.strip() == "limit":
            limit = module.limit()
            answers.write(json.dumps({"seconds": limit.seconds, "words": limit.words}) + "\n")
            continue
        if asked.strip() == "notes":
            notes = getattr(module, "notes", list)()
            answers.write(json.dumps({"notes": notes}) + "\n")
            continue
        before = reset_peak_memory()
        started = time.perf_counter()
        for _ in range(module.LINE.calls):
            work()
        wait()
        seconds = (time.perf_counter() - started) / module.LINE.calls
        answers.write(json.dumps({"seconds": seconds, "extra_mib": peak_mib() - before}) + "\n")


def nothing() -> None:
    """To wait for, where work is done when its call returns."""


def reset_peak_memory() -> float:
    """Resident memory now, in MiB; from here on the kernel notes the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """The highest resident memory since then."""
    return _status_mib("VmHWM")


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
