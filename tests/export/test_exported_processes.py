"""Exported losses of two processes: what one process would say of the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from export.exported_shares import IGNORE, SHARES, batch
from exported import LOSSES_TO_EXPORT, export_to, imported
from worked_losses import value_and_gradient

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    return {key: export_to(key, folder, to="monai", standalone=True)[".py"] for key in LOSSES_TO_EXPORT}


@pytest.fixture(scope="module")
def of_two(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes found: value and gradient by (file, share)."""
    folder = tmp_path_factory.mktemp("two")
    script = [sys.executable, TESTS / "export" / "exported_shares.py"]
    running = [
        subprocess.Popen(
            [*script, str(process), folder / "store", folder / f"{process}.pt", *files.values()],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        )
        for process in (0, 1)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    return [torch.load(folder / f"{process}.pt") for process in (0, 1)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("key", LOSSES_TO_EXPORT)
def test_two_processes_charge_what_one_charges(of_two: list[dict], files: dict[str, Path], key: str, share: str):
    loss = imported(files[key]).build_loss(ignore_label=IGNORE)
    value, gradient = value_and_gradient(loss, *batch())
    for process, rows in enumerate(SHARES[share]):
        theirs, their_gradient = of_two[process][files[key].stem, share]
        assert theirs == pytest.approx(value, rel=1e-12)
        # A parameter's gradient is averaged over the two processes, and each adds up that of its own rows.
        torch.testing.assert_close(their_gradient / 2, gradient[rows], rtol=1e-9, atol=1e-12)


def test_the_mean_of_the_processes_own_losses_would_be_another(files: dict[str, Path]) -> None:
    """So that the agreement above means something."""
    logits, target = batch()
    for key in ("iou0515", "slice", "inverse frequency"):
        loss = imported(files[key]).build_loss(ignore_label=IGNORE)
        alone = [float(loss(logits[rows], target[rows])) for rows in SHARES["unequal"]]
        assert abs(sum(alone) / 2 - float(loss(logits, target))) > 0.005
