"""Losses of two processes: what one process would say of the whole batch. Two real ones compute them, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from loss_shares import SHARES, batches, losses
from steelyard.losses.processes import mean_over_processes, sum_over_processes
from worked_losses import value_and_gradient

TESTS = Path(__file__).parents[1]
Found = dict[tuple[str, str, str], tuple[float, Tensor]]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each of two processes found: value and gradient by (loss, batch, share)."""
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, TESTS / "loss_shares.py", str(process), folder / "store", folder / f"{process}.pt"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for process in (0, 1)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    return [torch.load(folder / f"{process}.pt") for process in (0, 1)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("batch", batches())
@pytest.mark.parametrize("name", losses())
def test_two_processes_charge_what_one_charges_for_the_whole_batch(
    of_two: list[Found], name: str, batch: str, share: str
) -> None:
    value, gradient = value_and_gradient(losses()[name], *batches()[batch])
    for process, rows in enumerate(SHARES[share]):
        theirs, their_gradient = of_two[process][name, batch, share]
        assert theirs == pytest.approx(value, rel=1e-12)
        # A parameter's gradient is averaged over the two processes, and each adds up that of its own rows.
        torch.testing.assert_close(their_gradient / 2, gradient[rows], rtol=1e-9, atol=1e-12)


def test_the_mean_of_the_processes_own_losses_would_be_another() -> None:
    """So that the agreement above means something: what unpooled sums give is off by half a percent at least."""
    logits, target = batches()["elsewhere"]
    for name in ("iou0515", "diceBK", "by slice", "crossE"):
        value = float(losses()[name](logits, target))
        alone = [float(losses()[name](logits[rows], target[rows])) for rows in SHARES["unequal"]]
        assert abs(sum(alone) / 2 - value) > 0.005 * value


def test_one_process_sums_nothing() -> None:
    values = torch.tensor([0.2, 0.8, 3.5])
    assert sum_over_processes(values) is values
    assert float(mean_over_processes(values)) == pytest.approx(1.5)
