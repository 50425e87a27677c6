"""Runs of a study per hour, two at once on one processor beside one after the other."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.c1_study import PATIENTS, SLICES, small_study, training_limit
from benchmarks.lines.e1_reading import new_folders
from benchmarks.scenes import phantoms, run_steelyard

SIZE, EPOCHS = 128, 2

LINE = Line(
    f"2 runs of a study at once, in a process of one thread each, {PATIENTS} phantom patients of "
    f"{SLICES} × {SIZE} × {SIZE}, {EPOCHS} epochs",
    "the same study's runs one by one, in one process of two threads",
    wanted=1.0,
    of=(2, "runs"),
    repeats=2,
    warm_ups=0,  # each is a command in a process of its own
    measures_memory=False,
    shortfall=(
        "Two processes import and read at once what one does once, and share a core's caches. It takes longer runs, or "
        "a core for each; the rule of a worker for two cores stays (decision 26)."
    ),
)


def ours() -> Work:
    return _study("--workers", "2")


def peer() -> Work:
    return _study("--workers", "1")


def same() -> None:
    """One study, twice. With other numbers of threads the weights' last bits may differ."""


def limit() -> Limit:
    return training_limit(size=SIZE, epochs=EPOCHS)


def _study(*options: str) -> Work:
    root, places = phantoms(patients=PATIENTS, size=SIZE, slices=SLICES), new_folders()

    def work() -> None:
        out = next(places)
        run_steelyard("run", str(small_study(out, root, size=SIZE, epochs=EPOCHS)), *options, threads=LINE.threads)

    return work
