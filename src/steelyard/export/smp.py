"""segmentation-models-pytorch: a module whose `loss_fn` takes the logits and masks of its models."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from steelyard.export.recipe import LossRecipe
from steelyard.export.source import python_file
from steelyard.export.target import Exported, Target
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.tversky import IoULoss

USAGE = """Beside your training script, with a model of two classes or more, background first, that gives logits:

    from {module} import loss_fn

    model = smp.Unet("resnet34", classes=5)     # no activation
    loss = loss_fn(model(images), masks)        # masks (batch, height, width), class indices"""


def smp_module(recipe: LossRecipe, out: Path) -> Exported:
    """The loss in torch alone: smp's own losses differ from every one of ours; the file says how."""
    target = Target(out, default=f"steelyard_{recipe.slug}.py")
    module = target.file.stem
    text = python_file(
        "module.py.j2", recipe, tool="smp", usage=USAGE.format(module=module), why=_why_not_theirs(recipe.loss)
    )
    return Exported({target.file: text}, (f"from {module} import loss_fn", "loss = loss_fn(model(images), masks)"))


def _why_not_theirs(loss: nn.Module) -> str:
    if isinstance(loss, IoULoss):
        return (
            "smp.losses.TverskyLoss is not used: it gives a class without a reference voxel in the batch a loss of 0,\n"
            f"where this loss says {loss.absent!r}, and it does not sum counts over processes."
        )
    if isinstance(loss, CrossEntropyLoss):
        return (
            "torch.nn.CrossEntropyLoss is not used: it does not sum over processes, and is NaN where no voxel weighs."
        )
    return "smp.losses has no such loss."
