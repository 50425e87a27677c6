"""Losses for other tools: nnU-Net, MONAI and segmentation-models-pytorch, in files that do not need Steelyard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from steelyard.errors import BadSpec

if TYPE_CHECKING:
    from steelyard.export.target import Exported

Tool = Literal["nnunet", "monai", "smp"]


def export(
    loss_or_card: str, *, to: Tool, out: Path, options: Sequence[str] = (), standalone: bool = False
) -> Exported:
    """Write a loss for a tool and return what was written and what to do next.

    Args:
        loss_or_card: a registered loss's name, or the path of a calibration's card.
        to: `nnunet` (a trainer), `monai` (a configuration) or `smp` (a module with `loss_fn`).
        out: a folder, or the file.
        options: of a named loss, as `fp_weight=0.3`.
        standalone: for MONAI, never its own loss.

    Raises:
        BadSpec: no such loss or option, one that cannot be exported, or a place that cannot be written.
        BadData: a card that is damaged, is none, or is newer.
    """
    from steelyard.export.monai import monai_config
    from steelyard.export.nnunet import nnunet_trainer
    from steelyard.export.recipe import read_recipe
    from steelyard.export.smp import smp_module

    if standalone and to != "monai":
        raise BadSpec(f"--standalone is for monai alone: what --to {to} writes always stands alone. Leave it out.")
    recipe = read_recipe(loss_or_card, options)
    if to == "monai":
        exported = monai_config(recipe, out, standalone=standalone)
    else:
        exported = {"nnunet": nnunet_trainer, "smp": smp_module}[to](recipe, out)
    exported.write()
    return exported
