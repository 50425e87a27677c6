"""Images of any height and width: padded to whole cells of a network's coarsest grid, the logits cropped back."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MINIMUM_CELLS = 2  # a batch of one still gives batch normalisation more than one value per channel at the coarsest grid


def at_any_size(
    network: Callable[[Tensor], Tensor], images: Float[Tensor, "batch channel height width"], *, cell_px: int
) -> Float[Tensor, "batch class height width"]:
    """`network`'s logits for `images`, at their size, where `network` needs multiples of `cell_px` rows and columns.

    Rows and columns are added at the bottom and on the right, repeating the last one, up to a multiple of `cell_px` and
    at least `MINIMUM_CELLS` cells. Nothing is added where the size already fits. Padding keeps every pixel in its
    place; resizing the logits by a factor that is no whole number would shift them by a fraction of a cell.
    """
    height, width = images.shape[-2:]
    below, right = (max(-(-size // cell_px), MINIMUM_CELLS) * cell_px - size for size in (height, width))
    if below or right:
        images = F.pad(images, (0, right, 0, below), mode="replicate")
    return network(images)[..., :height, :width]
