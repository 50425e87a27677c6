"""The Ray engine: every undone run is a task of a Ray cluster, spread over its nodes; small networks share a GPU."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from steelyard.errors import BadData, BadSpec, Interrupted, SteelyardError
from steelyard.study.cases import Stop, prepare_cases
from steelyard.study.engines.local import CORES_PER_WORKER
from steelyard.study.objects import device_of
from steelyard.study.plan import Plan, Run
from steelyard.study.worker import DEATHS_PER_RUN, Failures, give_up, say_what_is_done, settle, title_of, unsettled

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_STOP = 60.0
OBJECT_STORE_BYTES = 128 * 2**20  # a plan is all that is kept there
RAY_HABITS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_DEDUP_LOGS": "0",  # equal lines of two runs are two lines
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a run that asks for no GPU keeps its environment
}
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # of no cluster: Ray then binds to 127.0.0.1, as on a Mac


def run_on_ray(
    plan: Plan, *, address: str | None, gpu_share: float | None, failures: Failures, console: Console, stop: Stop
) -> None:
    """Settle every run as a task with as many cores as it has threads, and its share of a GPU.

    Without an address, Ray is started on this machine alone, open to nobody else, and ended afterwards. A task whose
    process or node dies is handed out again, and the run goes on from its last saved state; after three deaths the run
    is marked as failed. (Ray's own retries are off: it tries what was killed for lack of memory without end.)

    Raises:
        BadSpec: Ray is not installed or not at that address, no node has what a run needs, or some nodes have GPUs and
            the study leaves open whether runs use them.
        Interrupted, BadData, OSError: what stops the whole study; by then the tasks are cancelled.
    """
    share = _gpu_share(plan, gpu_share)
    ray = _import_ray(address)
    say_what_is_done(plan, console)
    if not (left := unsettled(plan, failures)):
        return
    prepare_cases(plan, left, console=console, stop=stop)  # once, into the cache, not once per task
    with _connected(ray, address) as nodes:
        if address is not None:
            _refuse_gpus_by_chance(plan, nodes, share)
        threads = _threads(plan, nodes, share)
        console.print(
            f"Ray: {len(nodes)} nodes, {threads} threads" + (f" and {share:g} GPU" if share else "") + " per run",
            highlight=False,
        )
        task = ray.remote(_settle_on_node)
        needs = {"num_cpus": threads, "num_gpus": share, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        shared = ray.put(plan)
        here = (str(Path.cwd()), str(plan.spec.root.absolute()), sys.argv)  # a node may lack variables in [data] root

        def hand_out(run: Run) -> Any:
            return task.options(name="steelyard", **needs).remote(shared, run, failures, threads, *here)

        _wait_for_all(ray, {hand_out(run): run for run in left}, hand_out, plan, failures, console, stop)


def _wait_for_all(
    ray: Any, tasks: dict[Any, Run], hand_out: Any, plan: Plan, failures: Failures, console: Console, stop: Stop
) -> None:
    deaths: Counter[str] = Counter()
    try:
        while tasks:
            if stop():
                raise Interrupted("stopped by a signal")
            ended, _ = ray.wait(list(tasks), timeout=SECONDS_BETWEEN_LOOKS)
            for task in ended:
                run = tasks.pop(task)
                try:
                    ray.get(task)
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
                except ray.exceptions.RayError as error:
                    deaths[run.name] += 1
                    how = str(error).splitlines()[0]
                    console.print(f"{title_of(plan, run)}: its task died: {how}", highlight=False, soft_wrap=True)
                    if deaths[run.name] >= DEATHS_PER_RUN:
                        give_up(plan, run, f"its process died {deaths[run.name]} times; the last time: {how}")
                    if run in unsettled(plan, failures):
                        tasks[hand_out(run)] = run
    finally:
        for task in tasks:
            ray.cancel(task)
        if tasks:
            ray.wait(list(tasks), num_returns=len(tasks), timeout=SECONDS_TO_STOP)


def _settle_on_node(
    plan: Plan, run: Run, failures: Failures, threads: int, folder: str, root: str, command: list[str]
) -> None:
    """The task. Relative paths mean the same on every node, as does the command in the manifest."""
    for path in (Path(folder), Path(folder) / plan.folder / "study.json", Path(root)):
        if not path.exists():
            raise BadData(
                f"the node {socket.gethostname()} does not see {path}. Put the study's folder and the data on a file "
                "system that all nodes share."
            )
    os.chdir(folder)
    sys.argv = command
    torch.set_num_threads(threads)
    console = Console(markup=False, emoji=False, force_terminal=False, soft_wrap=True)
    settle(plan, run, title=title_of(plan, run), failures=failures, console=console, stop=lambda: False)


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[list[dict[str, Any]]]:
    """Yields the nodes that are alive."""
    where: dict[str, Any] = {"address": address}
    if address is None:
        where = {
            "num_cpus": torch.get_num_threads(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    on_terminate = signal.getsignal(signal.SIGTERM)  # Ray sets its own
    try:
        ray.init(**where, logging_level=logging.ERROR, log_to_driver=True)
    except Exception as error:  # of many kinds, plain ones among them: no cluster, another version, a slow start
        said = str(error).splitlines()[0]
        raise BadSpec(
            f"no Ray cluster answers at --address {address}: {said} Start one with `ray start --head`."
            if address
            else f"Ray does not start here: {said}"
        ) from error
    try:
        signal.signal(signal.SIGTERM, on_terminate)
        yield [node for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _gpu_share(plan: Plan, asked: float | None) -> float:
    """GPUs of one run: a share of one, or as many whole ones as [train] devices; 0 on the CPU."""
    devices = plan.spec.train.devices
    if asked is None:
        return float(devices) if device_of(plan.spec.train).type == "cuda" else 0.0
    if not 0 < asked <= 1 and asked != devices:
        raise BadSpec(f"--gpu-share is the part of a GPU that a run needs, over 0 and up to 1; came {asked:g}.")
    if devices > 1 and asked != devices:
        raise BadSpec(f"--gpu-share {asked:g} does not go with [train] devices = {devices}. Leave one of them out.")
    return asked


def _refuse_gpus_by_chance(plan: Plan, nodes: list[dict[str, Any]], share: float) -> None:
    """`auto` where no GPU is seen here: a run would take whichever GPU its node has, unasked and beside others."""
    with_gpus = sum(node["Resources"].get("GPU", 0.0) > 0 for node in nodes)
    if share == 0 and plan.spec.train.device == "auto" and with_gpus:
        raise BadSpec(
            f'[train] device = "auto", and torch sees no GPU here, but {with_gpus} of the {len(nodes)} nodes of '
            'the Ray cluster have some. Add --gpu-share 1 to use them, or write device = "cpu".'
        )


def _threads(plan: Plan, nodes: list[dict[str, Any]], share: float) -> int:
    """Threads of one run: two per device, or all cores of the largest node that has the GPUs."""
    fit = [node["Resources"] for node in nodes if node["Resources"].get("GPU", 0.0) >= share]
    cores = max((int(resources.get("CPU", 0.0)) for resources in fit), default=0)
    if cores == 0:
        wanted = f"{math.ceil(share)} GPUs and a core" if share else "a core"
        raise BadSpec(f"a run needs {wanted}, and none of the {len(nodes)} nodes of the Ray cluster has them.")
    return min(CORES_PER_WORKER * plan.spec.train.devices, cores)


def _cause(error: Any) -> Exception:
    """The error of our own code inside a task; else its last line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, SteelyardError | OSError):
        return cause
    return SteelyardError(f"a task failed: {str(error).strip().splitlines()[-1]}")


def _import_ray(address: str | None) -> Any:
    """Ray reads its environment when it is first imported."""
    for name, value in (RAY_HABITS | (ON_LOOPBACK if address is None else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise BadSpec("--engine ray needs ray. Install steelyard[ray].") from None
    return ray
