"""Every loss in one of two processes that hold a part of each batch: run as a script, once per process.

Usage: python loss_shares.py PROCESS STORE OUT
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, distributed, nn

from steelyard.losses import LOSSES, IoULoss
from steelyard.losses.per_organ import per_organ
from worked_losses import built, random_case, value_and_gradient

SHARES = {"equal": (slice(0, 3), slice(3, 6)), "unequal": (slice(0, 1), slice(1, 6))}


def losses() -> dict[str, nn.Module]:
    """All that are registered, and the options that change what is pooled."""
    prices = {"fp_weight": 0.4, "fn_weight": 1.6}
    return {name: built(name) for name in sorted(LOSSES)} | {
        "by slice": IoULoss(scope="slice", **prices),
        "by slice, skipping": IoULoss(scope="slice", absent="skip", class_weights=[0.2, 0.5, 3.0], **prices),
        "by slice, penalising": IoULoss(scope="slice", absent="penalise", **prices),
        "skipping": IoULoss(absent="skip", class_weights=[0.2, 0.5, 3.0], background=False, **prices),
        "per organ": per_organ(
            organs=[{"name": "tversky", "scope": "slice", "absent": "penalise", **prices}, "crossE"],
            weights=[0.7, 2.0],
            class_frequencies=[0.5, 0.3, 0.2],
        ),
        "penalising": IoULoss(absent="penalise", fp_weight=[0.2, 0.9, 1.4], fn_weight=1.1),
    }


def batches() -> dict[str, tuple[Tensor, Tensor]]:
    """Six samples each. Process 0 sees no pixel of class 2 in one batch, and nobody does in the other."""
    logits, target = random_case(seed=21, batch=6)
    elsewhere, nowhere = target.clone(), target.clone()
    elsewhere[:3][elsewhere[:3] == 2] = 1
    nowhere[nowhere == 2] = 0
    return {"everywhere": (logits, target), "elsewhere": (logits, elsewhere), "nowhere": (logits, nowhere)}


def main() -> None:
    process, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", store=distributed.FileStore(store, 2), rank=process, world_size=2)
    found = {}
    for loss_name, loss in losses().items():
        for batch_name, (logits, target) in batches().items():
            for share_name, rows in SHARES.items():
                own = rows[process]
                found[loss_name, batch_name, share_name] = value_and_gradient(loss, logits[own], target[own])
    torch.save(found, out)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
