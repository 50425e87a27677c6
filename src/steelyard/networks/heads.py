"""One head per organ: each organ is sought by a part of its own, and the most probable organ is chosen at the end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class HeadPerOrgan(nn.ModuleList):
    """Heads side by side on what one encoder has seen; head c answers ℓ_c, the log-odds of its organ against the rest.

    The logits are (0, ℓ_1, …, ℓ_K), so that they serve wherever a softmax network's do:

    - Their largest is the organ with the largest probability σ(ℓ_c), or the background where all are below ½.
    - Their softmax is exp ℓ_c / (1 + Σ_k exp ℓ_k): what the heads say together, taken as independent, once it is known
      that a voxel belongs to one organ at most. It is σ(ℓ_c) where no other head claims the voxel.

    A loss on (0, ℓ_c) alone, as `per_organ` with `against="background"`, trains head c and the encoder, no other head.

    Args:
        build: makes one head, a module from the encoder's maps to (batch, 1, row, column).
        classes: classes of the logits, background included: one head fewer.
    """

    def __init__(self, build: Callable[[], nn.Module], *, classes: int) -> None:
        super().__init__(build() for _ in range(classes - 1))

    def forward(self, *maps: object) -> Float[Tensor, "batch class row column"]:
        odds = [head(*maps) for head in self]
        return torch.cat((torch.zeros_like(odds[0]), *odds), dim=1)
