"""MONAI: a configuration that `ConfigParser` builds, with MONAI's own loss where that is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from steelyard import __version__
from steelyard.export.recipe import LossRecipe
from steelyard.export.source import MARK, python_file
from steelyard.export.target import Exported, Target
from steelyard.losses.tversky import IoULoss
from steelyard.losses.tversky_terms import EPSILON

USAGE = """MONAI's configuration {config} names it as {module}.build_loss; have its folder in PYTHONPATH.
Logits (batch, class, *space), before the softmax; labels (batch, 1, *space), class indices."""
SAME = (
    "MONAI's own loss: equal to Steelyard's in value and gradient, for logits in float32 and one process. With several "
    "processes MONAI does not sum the counts over them; export with --standalone then."
)


def monai_config(recipe: LossRecipe, out: Path, *, standalone: bool = False) -> Exported:
    """JSON with the key `loss`; beside it a module, where MONAI has no such loss or `standalone` asks for it."""
    name = f"steelyard_{recipe.slug}"
    file = Target(out, default=f"{name}.json").file
    theirs, why_not = same_in_monai(recipe.loss)
    files: dict[Path, str] = {}
    if theirs is None or standalone:
        why = f"MONAI's TverskyLoss is not used: {why_not or 'its own module was asked for'}."
        usage = USAGE.format(config=file.name, module=name)
        files[file.with_name(f"{name}.py")] = python_file("module.py.j2", recipe, tool="monai", usage=usage, why=why)
        built: dict[str, Any] = {"_target_": f"{name}.build_loss"}
    else:
        why, built = SAME, theirs
    config = {
        "steelyard": {
            "file": f"{MARK} {__version__}: {recipe.source} --to monai. Apache-2.0, as Steelyard.",
            "loss": recipe.title,
            "why": why,
        },
        "loss": built,
    }
    files[file] = json.dumps(config, indent=2) + "\n"
    said = [
        f"python -m monai.bundle run --config_file \"['configs/train.json','{file}']\"",
        "The configuration's key is loss.",
    ]
    if len(files) > 1:
        said.insert(0, f"export PYTHONPATH={file.parent.resolve()}:$PYTHONPATH")
    return Exported(files, tuple(said))


def same_in_monai(loss: nn.Module) -> tuple[dict[str, Any] | None, str]:
    """`monai.losses.TverskyLoss` with the options that make it equal; or None, and why there are none."""
    if type(loss) is not IoULoss:
        return None, "this is no Tversky loss"
    if isinstance(loss.fp_weight, tuple) or isinstance(loss.fn_weight, tuple):
        return None, "its alpha and beta are one number for all classes"
    if isinstance(loss.class_weights, tuple):
        return None, "it has no class weights"
    if loss.absent != "formula":
        return None, f"it counts an absent class by the formula, where this loss says {loss.absent!r}"
    return {
        "_target_": "monai.losses.TverskyLoss",
        "alpha": loss.fp_weight,  # its alpha weighs false positives
        "beta": loss.fn_weight,
        "include_background": loss.background,
        "softmax": True,
        "to_onehot_y": True,
        "batch": loss.scope == "batch",
        "smooth_nr": 0.0,
        "smooth_dr": EPSILON,
    }, ""
