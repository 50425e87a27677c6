"""The verb that writes a loss for another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from steelyard.cli.app import console


def export_loss(
    loss: str,
    out: Path,
    *,
    to: Literal["nnunet", "monai", "smp"],
    with_: Annotated[tuple[str, ...], Parameter(name="--with", consume_multiple=True, negative=())] = (),
    standalone: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a loss for nnU-Net, MONAI or segmentation-models-pytorch; what is written does not need Steelyard.

    Parameters
    ----------
    loss
        A loss's name (`steelyard ls losses`), or a calibration's card.json.
    out
        A folder, or a file: .py for nnunet and smp, .json for monai. Only what export-loss wrote is overwritten.
    to
        For which tool.
    with_
        The loss's options, as --with fp_weight=0.3 fn_weight=1.7.
    standalone
        For monai: never use MONAI's own loss, also where it is the same; for training with several processes.
    """
    from steelyard.export import export

    exported = export(loss, to=to, out=out, options=with_, standalone=standalone)
    for path in exported.files:
        console().print(f"written: {path}", highlight=False, soft_wrap=True)
    for line in exported.next_steps:
        console().print(f"  {line}", highlight=False, soft_wrap=True)
