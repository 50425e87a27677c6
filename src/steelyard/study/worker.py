"""A worker takes runs that nobody else holds, one after the other, until every run of the study is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console

from steelyard.runstore import RunFolder
from steelyard.study.cases import Cases, Stop, prepare_cases, stop_if_asked
from steelyard.study.plan import Plan, Run
from steelyard.study.unit import do_run

SECONDS_BETWEEN_LOOKS = 1.0  # at runs that other processes hold

Failures = Mapping[str, int]


def old_failures(plan: Plan) -> Failures:
    """When each failed run failed, in ns, as its folder says. Those are tried again; what fails from now on is not."""
    folders = [plan.run_folder(run) for run in plan.runs]
    return {folder.name: _failed_at(folder) for folder in folders if folder.failure.exists()}


def take_runs(
    plan: Plan, *, failures: Failures, console: Console, stop: Stop, at: Callable[[str], object] = lambda name: None
) -> None:
    """Settle every run of the plan: done by this worker, done or failed elsewhere, or failed here.

    A run that another process holds is waited for, and taken over when that process ends without settling it. `at` is
    told the name of each run before it is carried out.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study.
    """
    cases: Cases | None = None
    unsettled = dict(enumerate(plan.runs, 1))
    said = False
    while unsettled:
        held: dict[int, Run] = {}
        for number, run in unsettled.items():
            stop_if_asked(stop, "between two runs")
            title = f"run {number}/{len(plan.runs)}: {run.name}"
            folder = plan.run_folder(run)
            if folder.is_done:
                console.print(f"{title}: done", highlight=False)
                continue
            with folder.locked() as mine:
                if not mine:
                    held[number] = run
                elif folder.is_done:
                    console.print(f"{title}: done", highlight=False)
                elif not _failed_since(folder, failures):
                    at(run.name)
                    if cases is None:
                        cases = prepare_cases(plan, plan.runs, console=console, stop=stop)
                    reason = do_run(plan, run, cases, title=title, console=console, stop=stop)
                    if reason is not None:
                        console.print(f"{title}: failed: {reason}", highlight=False)
        if len(held) == len(unsettled):
            if not said:
                console.print(f"{len(held)} runs are held by other processes; waiting for them", highlight=False)
                said = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        unsettled = held


def settle(plan: Plan, run: Run, *, failures: Failures, console: Console, stop: Stop) -> None:
    """One run of the plan, for engines that hand out runs one by one; nothing when it is settled or held elsewhere."""
    folder = plan.run_folder(run)
    with folder.locked() as mine:
        if mine and not folder.is_done and not _failed_since(folder, failures):
            cases = prepare_cases(plan, [run], console=console, stop=stop)
            do_run(plan, run, cases, title=f"run {run.name}", console=console, stop=stop)


def _failed_since(folder: RunFolder, failures: Failures) -> bool:
    return folder.failure.exists() and _failed_at(folder) != failures.get(folder.name)


def _failed_at(folder: RunFolder) -> int:
    return folder.failure.stat().st_mtime_ns
