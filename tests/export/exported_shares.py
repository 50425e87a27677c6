"""Exported losses in one of two processes that hold a part of a batch: run as a script, once per process.

Usage: python exported_shares.py PROCESS STORE OUT FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed

from exported import imported
from worked_losses import random_case, value_and_gradient

IGNORE = 3
SHARES = {"equal": (slice(0, 3), slice(3, 6)), "unequal": (slice(0, 1), slice(1, 6))}


def batch() -> tuple[Tensor, Tensor]:
    """Six samples with ignored voxels; all of the first is ignored, and process 0 sees no voxel of class 2."""
    logits, target = random_case(seed=31, batch=6)
    target[:3][target[:3] == 2] = 1
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(2)) < 0.3] = IGNORE
    target[0] = IGNORE
    return logits, target[:, None].float()


def main() -> None:
    process, store, out, *files = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(store, 2), rank=int(process), world_size=2)
    logits, target = batch()
    found = {}
    for file in map(Path, files):
        loss = imported(file).build_loss(ignore_label=IGNORE)
        for share, rows in SHARES.items():
            own = rows[int(process)]
            found[file.stem, share] = value_and_gradient(loss, logits[own], target[own])
    torch.save(found, out)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
