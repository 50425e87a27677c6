"""The local engine: worker processes on this machine, which share its cores or have a GPU each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch
from rich.console import Console

from steelyard.errors import DISK_FULL, Interrupted, SteelyardError
from steelyard.study.cases import Stop, prepare_cases
from steelyard.study.interrupt import stop_on_signals
from steelyard.study.objects import device_of
from steelyard.study.plan import Plan
from steelyard.study.worker import DEATHS_PER_RUN, Failures, give_up, say_what_is_done, take_runs, unsettled

CORES_PER_WORKER = 2  # fewer workers with more threads each need less memory and are about as fast
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_STOP = 60.0
TOLD_TO_STOP = Interrupted.exit_code  # how a worker ends that a signal came to, and not to the command


def usual_workers(plan: Plan) -> int:
    """One per GPU, or one for every two cores of torch's threads; no more than there are runs in the study.

    Runs that are done count too: the threads of a worker, on which the last bits of a weight depend, are then the same
    for a command that goes on as for one that was left in peace.
    """
    if device_of(plan.spec.train).type == "cuda":
        places = torch.cuda.device_count() // plan.spec.train.devices if _has_any_gpu(plan) else 1
    else:
        places = torch.get_num_threads() // (CORES_PER_WORKER * plan.spec.train.devices)
    return max(1, min(places, len(plan.runs)))


def run_locally(plan: Plan, *, workers: int, failures: Failures, console: Console, stop: Stop) -> None:
    """Settle every run with so many workers. One worker is this very process; several are processes of their own.

    A worker that dies or is told to stop is replaced, and its run goes on from its last saved state; a run whose
    workers died three times is marked as failed.

    Raises:
        Interrupted, BadData, OSError: what stops the whole study; by then all workers have ended.
        SteelyardError: workers die without even getting to a run.
    """
    say_what_is_done(plan, console)
    if workers == 1:
        take_runs(plan, failures=failures, console=console, stop=stop)
        return
    if not (left := unsettled(plan, failures)):
        return
    prepare_cases(plan, left, console=console, stop=stop)  # once, into the cache, not once per worker
    console.print(f"{workers} workers, {_threads(workers)} threads each", highlight=False)
    runs = {run.name: run for run in plan.runs}
    deaths: Counter[str | None] = Counter()
    team = [_hire(plan, place, workers, failures) for place in range(min(workers, len(left)))]
    try:
        while team:
            if stop():
                raise Interrupted("stopped by a signal")
            wait([member.process.sentinel for member in team], timeout=SECONDS_BETWEEN_LOOKS)
            for member in list(team):
                is_over = not member.process.is_alive()  # asked first: nothing is said after it
                member.listen()
                if not is_over:
                    continue
                team.remove(member)
                if member.error is not None:
                    raise member.error
                if member.process.exitcode == 0:
                    continue
                if stop():  # the signal came to the workers as well
                    raise Interrupted("stopped by a signal")
                console.print(f"{member.death}; another goes on", highlight=False, soft_wrap=True)
                deaths[member.at] += 1
                if deaths[member.at] >= DEATHS_PER_RUN:
                    if member.at is None:
                        raise SteelyardError(
                            f"{DEATHS_PER_RUN} workers died before their first run: {member.death}. Use fewer workers."
                        )
                    how = _how(member.process.exitcode)
                    give_up(plan, runs[member.at], f"its process died {deaths[member.at]} times; the last one {how}")
                if unsettled(plan, failures):
                    team.append(_hire(plan, member.place, workers, failures))
    finally:
        _dismiss(team)


@dataclass
class _Member:
    """One worker process: its place (which GPU), and the line on which it says which run it is at."""

    process: BaseProcess
    place: int
    line: Connection
    at: str | None = None
    error: Exception | None = None

    def listen(self) -> None:
        """Note what it has said; often enough that the line never fills up."""
        with suppress(EOFError, OSError):  # it was killed in the middle of a word
            while self.line.poll():
                said = self.line.recv()
                if isinstance(said, Exception):
                    self.error = said
                else:
                    self.at = said

    @property
    def death(self) -> str:
        """`worker 2 ended with code 3 at unet-dice-f0-s1-0123abcd`."""
        at = f" at {self.at}" if self.at else ""
        return f"{self.process.name} {_how(self.process.exitcode)}{at}"


def _hire(plan: Plan, place: int, workers: int, failures: Failures) -> _Member:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(plan, failures, _threads(workers), os.getpid(), theirs), name=f"worker {place + 1}"
    )
    with _own_gpus(plan, place), _deaf_to_ctrl_c():
        process.start()
    theirs.close()
    return _Member(process, place, ours)


def _work(plan: Plan, failures: Failures, threads: int, parent: int, line: Connection) -> None:
    """The life of a worker process."""
    torch.set_num_threads(threads)
    console = Console(markup=False, emoji=False, force_terminal=False, soft_wrap=True)
    try:
        with stop_on_signals() as asked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            take_runs(
                plan,
                failures=failures,
                console=console,
                stop=lambda: asked() or os.getppid() != parent,  # nobody works on for a command that was killed
                at=line.send,
            )
    except Exception as error:
        if isinstance(error, Interrupted) and not _is_full_disk(error.__context__):
            sys.exit(TOLD_TO_STOP)
        with suppress(BrokenPipeError):  # nobody is left to hear it
            line.send(error)
    except KeyboardInterrupt:  # a second Ctrl-C
        sys.exit(128 + signal.SIGINT)


def _is_full_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_FULL


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started inside hears Ctrl-C only once it can end in good order; none is lost on the way."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _own_gpus(plan: Plan, place: int) -> Iterator[None]:
    """The process started inside sees its own GPUs only."""
    name, count = "CUDA_VISIBLE_DEVICES", plan.spec.train.devices
    before = os.environ.get(name)
    if device_of(plan.spec.train).type == "cuda" and _has_any_gpu(plan):
        visible = before.split(",") if before else [str(index) for index in range(torch.cuda.device_count())]
        os.environ[name] = ",".join(gpus_at(place, count, visible))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _has_any_gpu(plan: Plan) -> bool:
    """Whether a worker may have whichever GPU, rather than the one that the study names."""
    return plan.spec.train.device in ("auto", "cuda")


def gpus_at(place: int, count: int, visible: list[str]) -> list[str]:
    """`count` different GPUs for the worker at a place; places beyond the GPUs begin anew and share."""
    return [visible[(place * count + index) % len(visible)] for index in range(min(count, len(visible)))]


def _threads(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


def _how(code: int | None) -> str:
    if code == TOLD_TO_STOP:
        return "was told to stop"
    if code is None or code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (often: no memory left)" if name == "SIGKILL" else "")


def _dismiss(team: list[_Member]) -> None:
    for member in team:
        member.process.terminate()
    for member in team:
        member.process.join(SECONDS_TO_STOP)
        if member.process.is_alive():
            member.process.kill()
            member.process.join()
