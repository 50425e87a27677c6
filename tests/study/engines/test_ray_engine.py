"""A study on a Ray cluster of two nodes: both work, a killed worker's run resumes, and a failing run stops no other."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from engine_processes import (
    PATIENCE_S,
    epochs_said,
    folders_of,
    processes_in_the_middle,
    results,
    said_by,
    start,
    wait_until,
    write_study,
)
from steelyard.errors import BadData, BadSpec, RunsFailed
from steelyard.study.engines import on_ray
from steelyard.study.plan import Plan, make_plan, plan_file, write_plan
from steelyard.study.run import run_study
from studies import tiny_spec, write_patients

# Two nodes of one core each on 127.0.0.1, joined by the study under test as a cluster at an address. Ray binds to
# loopback alone when it is told that this is no place for clusters.
ON_TWO_NODES = """
import os
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from rich.console import Console
from steelyard.study.plan import plan_file
from steelyard.study.run import run_study
node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
for _ in range(5):  # Ray gives a node 30 s to start, which is too little on a machine that does much else
    try:
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
        break
    except Exception as error:
        print(error)
try:
    run_study(plan_file(Path(sys.argv[1])), console=Console(width=300), engine="ray", address=cluster.address)
finally:
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


def parent_of(pid: int) -> int:
    """The process that started it: of a Ray worker, its node's."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_nodes_share_a_study_and_a_killed_worker_costs_nothing_but_time(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: steelyard[ray]")
    grid = {"network": ["slow_network:ExplodingNetwork", "slow_network:SlowNetwork"], "seed": [1, 2], "epochs": 60}
    study = write_study(tmp_path / "ray", patients, **grid)
    alone = write_study(tmp_path / "alone", patients, **grid)
    command = start(study, script=ON_TWO_NODES)

    nodes: set[int] = set()

    def both_nodes_are_at_work() -> list[int]:
        workers = [pid for _, pid in processes_in_the_middle(study, epoch=3)]
        nodes.update(parent_of(pid) for pid in workers)
        return workers if len(nodes) == 2 else []

    victim = wait_until(both_nodes_are_at_work, command)[0]
    os.kill(victim, signal.SIGKILL)
    assert command.wait(timeout=PATIENCE_S) == 1
    assert "2 of 4 runs failed" in said_by(study)[-1]
    assert sum("its task died" in line for line in said_by(study)) == 1
    for epochs in epochs_said(study).values():
        assert epochs == sorted(epochs)  # it went on from what was saved
        assert epochs[-1] in (1, 60)

    first, second, *_ = folders_of(study)
    for failed in (first, second):
        assert failed.failure.read_text().startswith("ArithmeticError: the loss became nan")
        assert not failed.scores.exists()
    monkeypatch.setattr("slow_network.SECONDS_PER_FORWARD", 0.0)  # nobody has to catch it in the middle
    with pytest.raises(RunsFailed):
        run_study(plan_file(alone), console=quiet(), workers=1)
    names = [folder.name for folder in folders_of(study)[2:]]
    assert results(study, names) == results(alone, names)


@pytest.fixture
def plan(patients: Path, tmp_path: Path) -> Plan:
    """Two runs, not begun."""
    return make_plan(tiny_spec(patients, tmp_path))


def test_a_node_that_does_not_see_the_study_says_so_in_a_line(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    with pytest.raises(BadData, match=r"the node node7 does not see .*study\.json\. Put the study's folder") as caught:
        on_ray._settle_on_node(plan, plan.runs[0], {}, 1, str(tmp_path), str(tmp_path), ["steelyard"])
    assert "\n" not in str(caught.value)


def test_a_node_needs_no_variable_of_the_data_s_root(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_ON_THE_HEAD", str(patients))
    plan = make_plan(tiny_spec(patients, tmp_path / "out", data={"root": "$ONLY_ON_THE_HEAD"}, train={"epochs": 1}))
    root = str(plan.spec.root)
    monkeypatch.delenv("ONLY_ON_THE_HEAD")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.chdir(tmp_path)
    write_plan(plan)
    run, threads = plan.runs[0], torch.get_num_threads()
    on_ray._settle_on_node(plan, run, {}, threads, str(tmp_path), root, ["steelyard"])
    assert plan.run_folder(run).is_done
    with pytest.raises(BadData, match="does not see /nowhere"):
        on_ray._settle_on_node(plan, run, {}, threads, str(tmp_path), "/nowhere", ["steelyard"])


@pytest.mark.parametrize(
    ("device", "devices", "asked", "share"),
    [("cpu", 1, None, 0.0), ("cuda", 1, None, 1.0), ("cuda", 3, None, 3.0), ("cuda", 1, 0.25, 0.25), ("cuda", 3, 3, 3)],
)
def test_a_run_asks_for_a_gpu_per_device_or_for_its_share(
    monkeypatch: pytest.MonkeyPatch, device: str, devices: int, asked: float | None, share: float
) -> None:
    monkeypatch.setattr(on_ray, "device_of", lambda train: torch.device(device))
    assert on_ray._gpu_share(planned(devices), asked) == share


@pytest.mark.parametrize(("devices", "asked"), [(1, 0.0), (1, -0.5), (1, 1.5), (2, 0.5)])
def test_shares_that_make_no_sense_are_refused(devices: int, asked: float) -> None:
    with pytest.raises(BadSpec, match="--gpu-share"):
        on_ray._gpu_share(planned(devices), asked)


def planned(devices: int, device: str = "auto") -> Any:
    return SimpleNamespace(spec=SimpleNamespace(train=SimpleNamespace(devices=devices, device=device)))


def test_threads_are_those_that_the_nodes_with_gpus_have() -> None:
    nodes = [{"Resources": {"CPU": 16.0}}, {"Resources": {"CPU": 3.0, "GPU": 1.0}}]
    assert on_ray._threads(planned(1), nodes, 0.0) == 2
    assert on_ray._threads(planned(4), nodes, 0.0) == 8
    assert on_ray._threads(planned(4), nodes, 0.5) == 3
    with pytest.raises(BadSpec, match="a run needs 2 GPUs and a core, and none of the 2 nodes"):
        on_ray._threads(planned(2), nodes, 2.0)


def test_gpus_of_a_cluster_that_the_head_lacks_are_used_or_not_but_never_by_chance(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    connected: list[list[dict[str, Any]]] = []

    @contextmanager
    def with_a_gpu_on_one_of_two(ray: Any, address: str | None) -> Iterator[list[dict[str, Any]]]:
        connected.append([{"Resources": {"CPU": 2.0}}, {"Resources": {"GPU": 4.0}}])  # no core is with the GPUs
        yield connected[-1]

    monkeypatch.setattr(on_ray, "_import_ray", lambda address: None)
    monkeypatch.setattr(on_ray, "_connected", with_a_gpu_on_one_of_two)
    plan = make_plan(tiny_spec(patients, tmp_path, train={"device": "auto"}))
    wanted = r'"auto", .* 1 of the 2 nodes .* have some\. Add --gpu-share 1 to use them, or write device = "cpu"\.$'
    with pytest.raises(BadSpec, match=wanted) as caught:
        run_study(plan, console=quiet(), engine="ray", address="head:6379")
    assert "\n" not in str(caught.value)
    assert len(connected) == 1
    with pytest.raises(BadSpec, match="a run needs 1 GPUs and a core"):  # asked for, it comes to the next question
        run_study(plan, console=quiet(), engine="ray", address="head:6379", gpu_share=1)


def test_on_the_cpu_a_cluster_s_gpus_are_no_matter() -> None:
    nodes = [{"Resources": {"CPU": 2.0, "GPU": 4.0}}]
    for device, share in (("cpu", 0.0), ("auto", 0.25)):
        on_ray._refuse_gpus_by_chance(planned(1, device), nodes, share)
    with pytest.raises(BadSpec):
        on_ray._refuse_gpus_by_chance(planned(1, "auto"), nodes, 0.0)
    on_ray._refuse_gpus_by_chance(planned(1, "auto"), [{"Resources": {"CPU": 2.0}}], 0.0)


def test_without_ray_one_line_says_what_to_install(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadSpec, match=r"--engine ray needs ray\. Install steelyard\[ray\]\."):
        run_study(plan, console=quiet(), engine="ray")
