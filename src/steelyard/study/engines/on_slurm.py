"""The SLURM engine: every undone run is a job, requeued when its time is up or another job pushes it aside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from steelyard.errors import BadData, BadSpec, Interrupted, SteelyardError, unknown_name
from steelyard.records import read_object
from steelyard.runstore import write_json
from steelyard.study.cases import Stop, prepare_cases
from steelyard.study.engines.local import usual_workers
from steelyard.study.objects import device_of
from steelyard.study.plan import Plan, Run
from steelyard.study.status import study_status, summary
from steelyard.study.worker import DEATHS_PER_RUN, Failures, give_up, say_what_is_done, settle, title_of, unsettled

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_SUMMARIES = 30.0
SECONDS_TO_STOP = 60.0
JOBS_PER_ARRAY = 1000  # SLURM's usual MaxArraySize is 1001
TIMEOUTS_PER_RUN = 100  # each goes on from the last saved state, so that many short jobs make one long run
MINUTES = 240  # short jobs are scheduled sooner, and nothing is lost at their end
CORES_PER_DEVICE = 4
MEMORY_GB_PER_DEVICE = 16
ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED", "COMPLETING", "PREEMPTED"}
LISTS = ("setup", "teardown", "srun_args")
NOT_OFFERED = {"nodes", "tasks_per_node", "ntasks_per_node", "additional_parameters", "dependency", "stderr_to_stdout"}


def run_on_slurm(
    plan: Plan, *, parameters: Mapping[str, Any], failures: Failures, console: Console, stop: Stop
) -> None:
    """Settle every run as a job of one array; waits for them and tells how the study stands.

    A job whose time is nearly up, or that is pushed aside, is requeued and goes on from the run's last saved state. A
    job that dies is submitted again; after three deaths its run is marked as failed. Stopping leaves the jobs in the
    queue: the same command finds them again. Submission and output files are in `<study>/slurm`.

    Args:
        parameters: of sbatch by submitit's names, such as partition, timeout_min, mem_gb, gpus_per_node, account;
            numbers may be strings. The cluster `local` runs the jobs as processes of this machine instead.

    Raises:
        BadSpec: submitit or SLURM is not here, or a parameter is not known or refused.
        Interrupted, BadData, OSError: what stops the whole study; an error of a job cancels the others, a signal or an
            error of the watching leaves them.
    """
    queue = _Queue(plan, parameters, failures)
    say_what_is_done(plan, console)
    if not (left := unsettled(plan, failures)):
        return
    prepare_cases(plan, left, console=console, stop=stop)  # once, into the cache, not once per job
    queue.add(left)
    jobs = "jobs on this machine" if queue.is_local else f"SLURM jobs: {queue.ids}"
    console.print(f"{jobs}; their output is in {queue.folder}", highlight=False, soft_wrap=True)
    try:
        end = _wait_for_all(queue, plan, failures, console, stop)
    except BaseException:  # of the watching: jobs of SLURM go on without it
        if queue.is_local:
            queue.cancel()
        raise
    if end is not None:
        queue.cancel()
        raise end


def _wait_for_all(
    queue: _Queue, plan: Plan, failures: Failures, console: Console, stop: Stop
) -> SteelyardError | OSError | None:
    """Returns the error that a job came back with, which stops the study; None when every run is settled."""
    deaths: Counter[str] = Counter()
    said, said_at = "", time.monotonic()
    while left := unsettled(plan, failures):
        if stop():
            raise Interrupted(
                "stopped by a signal"
                if queue.is_local
                else f"stopped waiting. The jobs go on; the same command waits for them again, scancel {queue.ids} "
                "ends them"
            )
        for run in queue.ended(left):
            end = queue.end_of(run)
            if not isinstance(end, str):
                return end
            if run not in unsettled(plan, failures):  # it was settled between the two looks
                continue
            console.print(f"{title_of(plan, run)}: its job {end}", highlight=False, soft_wrap=True)
            deaths[run.name] += 1
            if deaths[run.name] >= DEATHS_PER_RUN:
                give_up(plan, run, f"its job died {deaths[run.name]} times; the last one {end}")
            if run in unsettled(plan, failures):
                queue.add([run])
        if time.monotonic() - said_at > SECONDS_BETWEEN_SUMMARIES:
            said_at = time.monotonic()
            with suppress(OSError, ValueError, BadData):  # a file server that stutters is no reason to stop
                if said != (now := summary(study_status(plan.folder))):
                    said = now
                    console.print(said, highlight=False, soft_wrap=True)
        queue.look_again()
    return None


class _Queue:
    """The jobs of a study, by run. On a SLURM cluster it outlives the command; on this machine it is kept short."""

    def __init__(self, plan: Plan, parameters: Mapping[str, Any], failures: Failures) -> None:
        self._plan = plan
        self._failures = failures
        self._submitit = _import_submitit()
        self.folder = (plan.folder / "slurm").absolute()
        self.is_local = parameters.get("cluster") == "local"
        self._executor = _executor(self._submitit, plan, parameters, self.folder)
        at_once = usual_workers(plan) if self.is_local else len(plan.runs)
        self._at_once = at_once
        cores = int(self._executor.parameters.get("cpus_per_task", CORES_PER_DEVICE))
        self._threads = max(1, torch.get_num_threads() // at_once) if self.is_local else cores
        self._jobs: dict[str, Any] = {} if self.is_local else self._still_alive()
        self._waiting: list[Run] = []

    @property
    def ids(self) -> str:
        """For scancel: `1201 1202`."""
        return " ".join(sorted({job.job_id.partition("_")[0] for job in self._jobs.values()}))

    def add(self, runs: list[Run]) -> None:
        """A job for each run that has none in the queue."""
        self._waiting += [run for run in runs if run.name not in self._jobs]
        self._submit()

    def ended(self, runs: list[Run]) -> list[Run]:
        """Those of the runs whose job is over."""
        return [run for run in runs if run.name in self._jobs and self._jobs[run.name].done()]

    def end_of(self, run: Run) -> SteelyardError | OSError | str:
        """How the run's job ended, which leaves the queue: the error that stops the study, or the end of a sentence."""
        job = self._jobs.pop(run.name)
        log = job.paths.stdout
        if not job.paths.result_pickle.exists():
            return f"died (see {log})" if self.is_local else f"ended as {job.state} (see {log})"
        try:
            error: SteelyardError | OSError | None = job.result()
        except self._submitit.core.utils.UncompletedJobError as failure:
            return f"failed: {_last_line_of_trace(str(failure))} (see {log})"
        return error if error is not None else f"ended without settling the run (see {log})"

    def look_again(self) -> None:
        """Wait a little; then room in the queue is filled."""
        time.sleep(SECONDS_BETWEEN_LOOKS / 10 if self.is_local else SECONDS_BETWEEN_LOOKS)
        self._submit()

    def cancel(self) -> None:
        """Ends all jobs."""
        self._waiting.clear()
        for job in self._jobs.values():
            job.cancel(check=False)
        until = time.monotonic() + SECONDS_TO_STOP
        while self.is_local and not all(job.done() for job in self._jobs.values()) and time.monotonic() < until:
            time.sleep(0.1)

    def _submit(self) -> None:
        room = self._at_once - sum(not job.done() for job in self._jobs.values()) if self.is_local else self._at_once
        now, self._waiting = self._waiting[: max(0, room)], self._waiting[max(0, room) :]
        for first in range(0, len(now), JOBS_PER_ARRAY):
            runs = now[first : first + JOBS_PER_ARRAY]
            try:
                with self._executor.batch():
                    jobs = [self._executor.submit(self._job(run)) for run in runs]
            except self._submitit.core.utils.FailedJobError as error:
                raise BadSpec(f"sbatch refused the jobs: {_last_line(str(error))}") from error
            self._jobs |= {run.name: job for run, job in zip(runs, jobs, strict=True)}
            if not self.is_local:
                write_json(self._file, {name: job.job_id for name, job in self._jobs.items()})

    def _job(self, run: Run) -> Job:
        alone = replace(self._plan, runs=(run,))  # every job has a copy of its own
        return Job(alone, title_of(self._plan, run), dict(self._failures), self._threads)

    @property
    def _file(self) -> Path:
        return self.folder / "jobs.json"

    def _still_alive(self) -> dict[str, Any]:
        """The jobs of an earlier command that are still in SLURM's queue."""
        ids = read_object(self._file, remedy="Delete it.") if self._file.exists() else {}
        jobs = {name: self._submitit.SlurmJob(self.folder, job_id) for name, job_id in ids.items()}
        watcher = self._submitit.SlurmJob.watcher
        watcher.update()  # one question for all jobs
        states = {name: watcher.get_state(job.job_id, mode="cache") for name, job in jobs.items()}
        return {name: job for name, job in jobs.items() if states[name].partition(" ")[0] in ALIVE}


class Job:
    """What a job does. submitit keeps it in a file and calls `checkpoint` when the job has to make room."""

    def __init__(self, plan: Plan, title: str, failures: Failures, threads: int) -> None:
        self._plan = plan
        self._title = title
        self._failures = failures
        self._threads = threads

    def __call__(self) -> SteelyardError | OSError | None:
        """Settles its run; an error that stops the whole study comes back as a value."""
        torch.set_num_threads(self._threads)
        console = Console(markup=False, emoji=False, force_terminal=False, soft_wrap=True)
        (run,) = self._plan.runs
        try:
            settle(self._plan, run, title=self._title, failures=self._failures, console=console, stop=lambda: False)
        except (SteelyardError, OSError) as error:
            return error
        return None

    def checkpoint(self) -> Any:
        """The same job again: the run's own saved state is where it goes on."""
        return _import_submitit().helpers.DelayedSubmission(self)


def _executor(submitit: Any, plan: Plan, parameters: Mapping[str, Any], folder: Path) -> Any:
    given = dict(parameters)
    cluster = given.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise BadSpec(f"--slurm.cluster is slurm or local; came {cluster!r}.")
    devices = plan.spec.train.devices
    settings: dict[str, Any] = {
        "name": f"steelyard-{plan.spec.study.name}",
        "timeout_min": MINUTES,
        "cpus_per_task": CORES_PER_DEVICE * devices,
        "mem_gb": MEMORY_GB_PER_DEVICE * devices,
        "stderr_to_stdout": True,
        "slurm_additional_parameters": {"requeue": True},
    }
    if device_of(plan.spec.train).type == "cuda":
        settings["gpus_per_node"] = devices
    shared = submitit.AutoExecutor._typed_parameters()
    of_slurm = submitit.SlurmExecutor._valid_parameters()
    known = {*shared, *of_slurm, "cluster"} - NOT_OFFERED
    if unknown := [name for name in given if name not in known]:
        raise BadSpec(*(f"--slurm: {unknown_name('parameter', name, known)}" for name in unknown))
    for name, value in given.items():
        settings[name if name in shared else f"slurm_{name}"] = [value] if name in LISTS else _number(value)
    try:
        executor = submitit.AutoExecutor(
            folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS_PER_RUN, local_max_num_timeout=TIMEOUTS_PER_RUN
        )
    except RuntimeError as error:
        raise BadSpec(
            "--engine slurm: srun is not on the PATH. Run it on a login node, or add --slurm.cluster local."
        ) from error
    try:
        executor.update_parameters(**settings)
    except (AssertionError, ValueError, NameError, TypeError) as error:
        raise BadSpec(f"--slurm: {str(error).splitlines()[0]}.") from error
    return executor


def _number(value: Any) -> Any:
    """`"8"` is 8 and `"1.5"` is 1.5; all else is left as it is."""
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            pass
    return value


def _last_line_of_trace(text: str) -> str:
    """submitit puts a trace between two rules, and advice below."""
    return _last_line(text.rpartition("\n-----")[0] or text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise BadSpec("--engine slurm needs submitit. Install steelyard[slurm].") from None
    return submitit
