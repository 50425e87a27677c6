"""nnU-Net v2: one trainer file, found through the variable nnUNet_extTrainer."""

from __future__ import annotations

from pathlib import Path

from steelyard.errors import BadSpec
from steelyard.export.recipe import LossRecipe
from steelyard.export.source import MARK, python_file
from steelyard.export.target import Exported, Target

TRAINER = "nnUNetTrainerSteelyard_"


def nnunet_trainer(recipe: LossRecipe, out: Path) -> Exported:
    """A trainer class of its own name per loss and options, in a file of that name or in the one that `out` names."""
    trainer = TRAINER + recipe.slug
    target = Target(out, default=f"{trainer}.py")
    file = target.file
    if not file.stem.isidentifier():
        raise BadSpec(f"nnU-Net imports the trainer's file, so its name must be a Python name; came {file.name}.")
    text = python_file("trainer.py.j2", recipe, tool="nnunet", trainer=trainer, slug=recipe.slug)
    folder = file.parent.resolve()
    said = [
        f"export nnUNet_extTrainer={folder}",
        f"nnUNetv2_train DATASET CONFIGURATION FOLD -tr {trainer}",
        "Set the variable for predictions too. nnU-Net before 2.8 does not know it; docs/export.md tells what to do.",
    ]
    if others := _other_modules(folder, file.name):
        said.append(
            f"nnU-Net will also import {', '.join(others)} there: better give the trainers a folder of their own."
        )
    return Exported({file: text}, tuple(said))


def _other_modules(folder: Path, own: str) -> list[str]:
    """What else lies there and is no exported file: modules and packages."""
    if not folder.is_dir():
        return []
    modules = [path.name for path in folder.glob("*.py") if path.name != own and MARK not in _head(path)]
    return sorted(modules + [path.parent.name for path in folder.glob("*/__init__.py")])[:5]


def _head(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[:500]
