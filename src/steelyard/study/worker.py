"""A worker takes runs that nobody else holds, one after the other, until every run of the study is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache

from rich.console import Console

from steelyard.runstore import RunFolder
from steelyard.study.cases import Cases, Stop, prepare_cases, stop_if_asked
from steelyard.study.crf import do_crf, forget_crf, lacks_crf
from steelyard.study.parallel import ProcessKilled
from steelyard.study.plan import Plan, Run
from steelyard.study.unit import do_run

SECONDS_BETWEEN_LOOKS = 1.0  # at runs that other processes hold
DEATHS_PER_RUN = 3  # whatever kills its process so often (no memory, a crash in native code) would do so for ever

Failures = Mapping[str, int]


def old_failures(plan: Plan) -> Failures:
    """When each failed run failed, in ns, as its folder says. Those are tried again; what fails from now on is not."""
    failed = ((run.name, _failed_at(plan.run_folder(run))) for run in plan.runs)
    return {name: at for name, at in failed if at is not None}


def unsettled(plan: Plan, failures: Failures) -> list[Run]:
    """The runs that are neither done, with their CRF where one is wanted, nor failed since `failures` were noted."""
    return [run for run in plan.runs if not _is_settled(plan, run, failures)]


def take_runs(
    plan: Plan, *, failures: Failures, console: Console, stop: Stop, at: Callable[[str], object] = lambda name: None
) -> None:
    """Settle every run of the plan: done by this worker, done or failed elsewhere, or failed here.

    A run that another process holds is waited for, and taken over when that process ends without settling it. `at` is
    told the name of each run before it is carried out.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study.
    """
    all_cases = cache(lambda: prepare_cases(plan, plan.runs, console=console, stop=stop))
    left = unsettled(plan, failures)
    said = False
    while left:
        held = []
        for run in left:
            stop_if_asked(stop, "between two runs")
            title = title_of(plan, run)
            if not _attempt(
                plan, run, title=title, failures=failures, cases=all_cases, console=console, stop=stop, at=at
            ):
                held.append(run)
        if len(held) == len(left):
            if not said:
                names = ", ".join(run.name for run in held)
                console.print(f"waiting for runs that other processes hold: {names}", highlight=False)
                said = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
        left = held


def settle(plan: Plan, run: Run, *, title: str, failures: Failures, console: Console, stop: Stop) -> None:
    """One run of the plan, for engines that hand out runs one by one; while another process holds it, wait.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study.
    """
    cases = cache(lambda: prepare_cases(plan, [run], console=console, stop=stop))
    while not _attempt(plan, run, title=title, failures=failures, cases=cases, console=console, stop=stop):
        stop_if_asked(stop, "while another process held the run")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def say_what_is_done(plan: Plan, console: Console) -> None:
    """A line for each run that needs no work any more."""
    for run in plan.runs:
        if _is_complete(plan, run):
            console.print(f"{title_of(plan, run)}: done", highlight=False, soft_wrap=True)


def title_of(plan: Plan, run: Run) -> str:
    """`run 3/12: unet-dice-f0-s1-0123abcd`."""
    return f"run {plan.runs.index(run) + 1}/{len(plan.runs)}: {run.name}"


def give_up(plan: Plan, run: Run, reason: str) -> None:
    """Mark a run as failed from outside, because its process cannot; unless somebody has it in work or done."""
    folder = plan.run_folder(run)
    with folder.locked() as mine:
        if mine and not _is_complete(plan, run):
            folder.mark_failed(reason)


def _attempt(
    plan: Plan,
    run: Run,
    *,
    title: str,
    failures: Failures,
    cases: Callable[[], Cases],
    console: Console,
    stop: Stop,
    at: Callable[[str], object] = lambda name: None,
) -> bool:
    """Carry the run out if that is left to do. False when another process holds it; else it is settled afterwards."""
    folder = plan.run_folder(run)
    if _is_complete(plan, run):
        return True
    with folder.locked() as mine:
        if not mine:
            return False
        if not _is_settled(plan, run, failures):
            at(run.name)
            reason = None
            if not folder.is_done:
                forget_crf(folder)
                reason = _persist(plan, run, cases(), title=title, console=console, stop=stop)
            if reason is None and lacks_crf(plan, run):
                reason = do_crf(plan, run, cases(), title=title, console=console, stop=stop)
            outcome = "done" if reason is None else f"failed: {reason}"
            console.print(f"{title}: {outcome}", highlight=False, soft_wrap=True)
    return True


def _persist(plan: Plan, run: Run, cases: Cases, *, title: str, console: Console, stop: Stop) -> str | None:
    """`do_run`, tried again where a process beside this one was killed: it goes on from the last saved state."""
    for death in range(1, DEATHS_PER_RUN + 1):
        try:
            return do_run(plan, run, cases, title=title, console=console, stop=stop)
        except ProcessKilled as error:
            console.print(f"{title}: {error}", highlight=False, soft_wrap=True)
            reason = f"its processes died {death} times; the last one: {error}"
    plan.run_folder(run).mark_failed(reason)
    return reason


def _is_settled(plan: Plan, run: Run, failures: Failures) -> bool:
    return _is_complete(plan, run) or _failed_at(plan.run_folder(run)) not in (None, failures.get(run.name))


def _is_complete(plan: Plan, run: Run) -> bool:
    return plan.run_folder(run).is_done and not lacks_crf(plan, run)


def _failed_at(folder: RunFolder) -> int | None:
    try:
        return folder.failure.stat().st_mtime_ns
    except FileNotFoundError:
        return None
