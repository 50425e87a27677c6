"""`python -m benchmarks.growth [NAME …]`: time and memory against classes, slices, patients and the size of the grid.

Every point is measured in a process of its own that gives freed arrays back at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.growth_fit import Growth, read_growth, write_growth
from benchmarks.line import Work, line_names, module_of
from benchmarks.lines.e1_reading import new_folders
from benchmarks.machine import describe
from benchmarks.page import write_page
from benchmarks.pair import RETURN_FREED_ARRAYS, ROOT, environment
from benchmarks.results import read_results
from benchmarks.scenes import phantoms, study_file
from benchmarks.side import peak_mib, reset_peak_memory

PICTURE = ROOT / "docs" / "benchmarks-growth.png"
TIMES = 3  # the fastest counts


@dataclass(frozen=True)
class Against:
    """What grows, by which sizes, and the work at a size."""

    title: str
    sizes: tuple[int, ...]
    work: Callable[[int], Work]


def loss_at(classes: int) -> Work:
    from benchmarks.loss_sides import forward_and_backward
    from steelyard.losses import IoULoss

    return forward_and_backward(IoULoss(fp_weight=0.5, fn_weight=1.5), (4, classes, 128, 128))


def epoch_at(slices: int) -> Work:
    """All batches of an epoch, moved at random: what a larger data set costs beside the network. Its slices count."""
    import torch

    from steelyard.batches.affine import RandomAffine
    from steelyard.batches.order import Batches
    from steelyard.batches.slices import SliceSet

    def work() -> None:
        held = SliceSet(torch.zeros(slices, 1, 32, 32), torch.zeros(slices, 32, 32, dtype=torch.uint8))
        for _ in Batches(held, batch_size=16, seed=1, augmentation=RandomAffine()).epoch(0):
            pass

    return work


def statistics_at(patients: int) -> Work:
    import numpy as np

    from steelyard.stats.studentised import studentised_interval

    seen = np.random.default_rng(1).normal(size=(patients, 7, 4))
    return lambda: studentised_interval(seen, seed=1)


def reading_at(patients: int) -> Work:
    """Cases of so many patients, prepared and cached, in a new folder each time."""
    from rich.console import Console

    from steelyard.study.cases import prepare_cases
    from steelyard.study.plan import plan_file

    root, places = phantoms(patients=64, size=64, slices=12), new_folders()

    def work() -> None:
        plan = plan_file(_study(next(places), root=root, seeds=1))
        fold = plan.runs[0].fold
        few = replace(fold, train=(fold.train + fold.test)[:patients], test=())
        prepare_cases(plan, [replace(plan.runs[0], fold=few)], console=Console(quiet=True), stop=lambda: False)

    return work


def grid_at(runs: int) -> Work:
    """The plan of a study of so many runs, kept, and its status asked for."""
    from steelyard.study.plan import plan_file, write_plan
    from steelyard.study.status import study_status

    root, out = phantoms(patients=4, size=32, slices=4), Path(tempfile.mkdtemp())

    def work() -> None:
        plan = plan_file(_study(out, root=root, seeds=runs // 2))
        if len(plan.runs) != runs:
            raise RuntimeError(f"{len(plan.runs)} runs")
        write_plan(plan)
        study_status(plan.folder)

    return work


AGAINST = {
    "classes": Against("classes of a loss, forward + backward, (4, n, 128, 128)", (2, 4, 8, 16, 32, 64, 128), loss_at),
    "slices": Against("slices of an epoch's batches, with augmentation", (100, 1_000, 10_000, 100_000), epoch_at),
    "patients": Against("patients of 28 bootstrap intervals", (16, 32, 64, 128, 256, 512), statistics_at),
    "reading": Against("patients read and cached", (4, 8, 16, 32, 64), reading_at),
    "grid": Against("runs of a study planned and looked at", (8, 32, 128, 512), grid_at),
}


def measure(name: str) -> Growth:
    against = AGAINST[name]
    points = [_in_process(name, size) for size in against.sizes]
    return Growth(
        name,
        against.title,
        against.sizes,
        tuple(float(f"{point['seconds']:.4g}") for point in points),
        tuple(float(f"{point['mib']:.4g}") for point in points),
        where=f"{datetime.now(UTC).date().isoformat()}, {describe()}",
    )


def _in_process(name: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.growth", "--point", name, str(size)]
    used = environment(2) | RETURN_FREED_ARRAYS
    done = subprocess.run(command, env=used, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _point(name: str, size: int) -> None:
    import torch

    torch.set_num_threads(2)
    work = AGAINST[name].work(size)
    times, mib = [], []
    for _ in range(TIMES):
        before = reset_peak_memory()
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
        mib.append(peak_mib() - before)
    print(json.dumps({"seconds": min(times), "mib": sorted(mib)[TIMES // 2]}))


def draw(growth: list[Growth], path: Path = PICTURE) -> None:
    """Time above, memory below, a column for each curve; a grey line of slope 1 to compare with."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(growth), figsize=(2.3 * len(growth), 4), squeeze=False, dpi=80)
    for column, one in zip(rows.T, growth, strict=True):
        curves = ((one.seconds, one.time, "s"), (one.mib, one.memory, "MiB"))
        for axes, (values, slope, unit) in zip(column, curves, strict=True):
            sizes, shown = one.sizes, [max(value, 1e-3) for value in values]
            axes.loglog(sizes, [shown[-1] * size / sizes[-1] for size in sizes], color="0.75", linewidth=1)
            axes.loglog(sizes, shown, marker="o", markersize=3, color="#3b6ea5")
            axes.set_title(f"{unit}, k = {'–' if slope is None else f'{slope:.2f}'}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.minorticks_off()
            axes.set_xticks([sizes[0], sizes[-1]], [str(sizes[0]), str(sizes[-1])])
        column[1].set_xlabel(one.name, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main() -> int:
    if sys.argv[1:2] == ["--point"]:
        _point(sys.argv[2], int(sys.argv[3]))
        return 0
    known = {one.name: one for one in read_growth()}
    for name in sys.argv[1:] or list(AGAINST):
        known[name] = measure(name)
        one = known[name]
        memory = "–" if one.memory is None else f"{one.memory:.2f}"
        print(f"{name}: time k = {one.time:.2f}, memory k = {memory}; {one.seconds}", flush=True)
    growth = [known[name] for name in AGAINST if name in known]
    write_growth(growth)
    draw(growth)
    write_page({name: module_of(name).LINE for name in line_names()}, read_results(), growth)
    return 1 if any(one.is_worse_than_linear for one in growth) else 0


def _study(out: Path, *, root: Path, seeds: int) -> Path:
    return study_file(
        out / "bench.toml",
        root=root / "Train_Sets",
        out=out,
        tables={
            "preprocess": {"size": 32},
            "folds": {"count": 2, "use": [0]},
            "grid": {
                "network": ["unet_resnet18"],
                "loss": ["dice", "iou0515"],
                "seed": [*range(1, seeds + 1)],
            },
        },
    )


if __name__ == "__main__":
    raise SystemExit(main())
