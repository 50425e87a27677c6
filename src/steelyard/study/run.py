"""Carries out a study: each run trains, predicts and scores its held-out patients, once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from steelyard.errors import DISK_FULL, BadSpec, RunsFailed, disk_full
from steelyard.study.cases import Stop, keep_cases
from steelyard.study.crf import lacks_crf
from steelyard.study.engines.local import run_locally, usual_workers
from steelyard.study.interrupt import stop_on_signals
from steelyard.study.plan import Plan, write_plan
from steelyard.study.reuse import take_from_other_studies
from steelyard.study.worker import Failures, old_failures

Engine = Literal["local", "ray", "slurm"]


def run_study(
    plan: Plan,
    *,
    console: Console,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    gpu_share: float | None = None,
    slurm: Mapping[str, Any] | None = None,
) -> Path:
    """Do every run of the plan that is not done yet; returns the study's folder.

    A run that another process holds is left to it and waited for. A run that fails leaves its reason in FAILED and
    does not stop the others.

    Several local workers import the script that calls this, which therefore keeps the call under
    `if __name__ == "__main__":`.

    Args:
        engine: `local` processes, tasks on a `ray` cluster, or jobs of `slurm`.
        workers: of the local engine; one per GPU or per two cores when None.
        address: of the Ray cluster; a cluster of this machine alone when None.
        gpu_share: how much of a GPU a run on Ray needs; a whole one per device when None.
        slurm: submission parameters, by submitit's names.

    Raises:
        Interrupted: a signal or a full disk; the same call goes on from where it stopped.
        BadData: a case is broken or has no reference.
        BadSpec: an engine that is not installed or an option that it does not have.
        RunsFailed: all runs were tried and some failed.
    """
    carry_out = _engine(engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm)
    try:
        with stop_on_signals() as stop:
            write_plan(plan)
            keep_cases(plan, stop=stop)
            take_from_other_studies(plan, console=console)
            carry_out(plan, old_failures(plan), console, stop)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, plan.folder) from error
        raise
    left = [run.name for run in plan.runs if not plan.run_folder(run).is_done or lacks_crf(plan, run)]
    if left:
        raise RunsFailed(f"{len(left)} of {len(plan.runs)} runs failed ({', '.join(left)}). The rest is done.")
    return plan.folder


def check_options(
    engine: Engine,
    *,
    workers: int | None,
    address: str | None,
    gpu_share: float | None,
    slurm: Mapping[str, Any] | None,
) -> None:
    """Refuses an option of another engine, which would otherwise be ignored.

    Raises:
        BadSpec: such an option was given.
    """
    given = {"--workers": workers, "--address": address, "--gpu-share": gpu_share, "--slurm": slurm or None}
    own = {"local": {"--workers"}, "ray": {"--address", "--gpu-share"}, "slurm": {"--slurm"}}[engine]
    for option, value in given.items():
        if value is not None and option not in own:
            raise BadSpec(f"{option} is not for the {engine} engine, which has {', '.join(sorted(own))}. Leave it out.")


def _engine(
    engine: Engine,
    *,
    workers: int | None,
    address: str | None,
    gpu_share: float | None,
    slurm: Mapping[str, Any] | None,
) -> Callable[[Plan, Failures, Console, Stop], None]:
    """The engine with its options."""
    check_options(engine, workers=workers, address=address, gpu_share=gpu_share, slurm=slurm)

    def locally(plan: Plan, failures: Failures, console: Console, stop: Stop) -> None:
        count = usual_workers(plan) if workers is None else workers
        run_locally(plan, workers=count, failures=failures, console=console, stop=stop)

    def on_ray(plan: Plan, failures: Failures, console: Console, stop: Stop) -> None:
        from steelyard.study.engines.on_ray import run_on_ray

        run_on_ray(plan, address=address, gpu_share=gpu_share, failures=failures, console=console, stop=stop)

    def on_slurm(plan: Plan, failures: Failures, console: Console, stop: Stop) -> None:
        from steelyard.study.engines.on_slurm import run_on_slurm

        run_on_slurm(plan, parameters=slurm or {}, failures=failures, console=console, stop=stop)

    return {"local": locally, "ray": on_ray, "slurm": on_slurm}[engine]
