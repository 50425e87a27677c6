"""The local engine: worker processes on this machine, which share its cores or have a GPU each."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch
from rich.console import Console

from steelyard.errors import Interrupted
from steelyard.study.cases import Stop, prepare_cases
from steelyard.study.interrupt import stop_on_signals
from steelyard.study.objects import device_of
from steelyard.study.plan import Plan
from steelyard.study.worker import Failures, take_runs

CORES_PER_WORKER = 2  # fewer workers with more threads each need less memory and are about as fast
DEATHS_PER_RUN = 3  # whatever kills its process so often (no memory, a crash in native code) would do so for ever
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 60.0


def usual_workers(plan: Plan) -> int:
    """One per GPU, or one for every two cores of torch's threads; no more than there are runs to do."""
    to_do = sum(not plan.run_folder(run).is_done for run in plan.runs)
    if device_of(plan.spec.train).type == "cuda":
        places = torch.cuda.device_count() // plan.spec.train.devices if plan.spec.train.device == "auto" else 1
    else:
        places = torch.get_num_threads() // (CORES_PER_WORKER * plan.spec.train.devices)
    return max(1, min(places, to_do))


def run_locally(plan: Plan, *, workers: int, failures: Failures, console: Console, stop: Stop) -> None:
    """Settle every run with so many workers. One worker is this very process; several are processes of their own.

    A worker that dies is replaced, and its run goes on from its last saved state; a run whose worker died three times
    is marked as failed.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study; by then all workers have ended.
    """
    if workers == 1:
        take_runs(plan, failures=failures, console=console, stop=stop)
        return
    prepare_cases(plan, plan.runs, console=console, stop=stop)  # once, into the cache, not once per worker
    console.print(f"{workers} workers, {_threads(workers)} threads each", highlight=False)
    deaths: Counter[str] = Counter()
    team = [_hire(plan, place, workers, failures) for place in range(workers)]
    try:
        while team:
            if stop():
                raise Interrupted("stopped by a signal")
            wait([member.process.sentinel for member in team], timeout=SECONDS_BETWEEN_LOOKS)
            for member in [member for member in team if not member.process.is_alive()]:
                team.remove(member)
                last = member.last_word()
                if isinstance(last, Exception):
                    raise last
                if member.process.exitcode != 0:
                    console.print(f"{_death(member, last)}; another goes on", highlight=False)
                    if last is not None:
                        deaths[last] += 1
                        if deaths[last] == DEATHS_PER_RUN:
                            _give_up(plan, last, member.process.exitcode)
                    if last is None and deaths.total() == 0:
                        raise RuntimeError(f"a worker ended with code {member.process.exitcode} before its first run")
                    team.append(_hire(plan, member.place, workers, failures))
    finally:
        _dismiss(team)


@dataclass
class _Member:
    """One worker process: its place (which GPU), and the line on which it says which run it is at."""

    process: BaseProcess
    place: int
    line: Connection

    def last_word(self) -> str | Exception | None:
        """The run that it was at, or the error that it ended with."""
        last = None
        try:
            while self.line.poll():
                last = self.line.recv()
        except (EOFError, OSError):
            pass
        return last


def _hire(plan: Plan, place: int, workers: int, failures: Failures) -> _Member:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(plan, failures, _threads(workers), os.getpid(), theirs), name=f"worker {place + 1}"
    )
    with _own_gpus(plan, place):
        process.start()
    theirs.close()
    return _Member(process, place, ours)


def _work(plan: Plan, failures: Failures, threads: int, parent: int, line: Connection) -> None:
    """The life of a worker process."""
    torch.set_num_threads(threads)
    console = Console(markup=False, emoji=False, force_terminal=False, soft_wrap=True)
    try:
        with stop_on_signals() as asked:
            take_runs(
                plan,
                failures=failures,
                console=console,
                stop=lambda: asked() or os.getppid() != parent,  # nobody works on for a command that was killed
                at=line.send,
            )
    except Exception as error:
        line.send(error)


@contextmanager
def _own_gpus(plan: Plan, place: int) -> Iterator[None]:
    """The process started inside sees its own GPUs only."""
    name, count = "CUDA_VISIBLE_DEVICES", plan.spec.train.devices
    before = os.environ.get(name)
    if device_of(plan.spec.train).type == "cuda" and plan.spec.train.device == "auto":
        visible = before.split(",") if before else [str(index) for index in range(torch.cuda.device_count())]
        first = place * count % len(visible)
        os.environ[name] = ",".join(visible[first : first + count])
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _threads(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


def _death(member: _Member, at: str | None) -> str:
    code = member.process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{member.process.name} {how}" + (f" at {at}" if at else "")


def _give_up(plan: Plan, name: str, code: int | None) -> None:
    folder = next(plan.run_folder(run) for run in plan.runs if run.name == name)
    with folder.locked() as mine:
        if mine and not folder.is_done:
            folder.mark_failed(f"its process died {DEATHS_PER_RUN} times, the last time with code {code}")


def _dismiss(team: list[_Member]) -> None:
    for member in team:
        member.process.terminate()
    for member in team:
        member.process.join(SECONDS_TO_STOP)
        if member.process.is_alive():
            member.process.kill()
            member.process.join()
