"""What the tests of exported losses share: the losses, and how an exported file is imported as its user would."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from steelyard.export import export
from steelyard.losses import LOSSES

# Name and options; every number unlike the others, three classes where there is one per class.
LOSSES_TO_EXPORT: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("iou11", "iou1505", "iou0515", "dice", "diceBK", "cross_entropy", "dice_ce")},
    "prices": ("tversky", {"fp_weight": 0.3, "fn_weight": 1.6}),
    "prices per class": ("tversky", {"fp_weight": [0.2, 0.9, 1.4], "fn_weight": [1.7, 0.6, 1.1]}),
    "class weights": ("tversky", {"class_weights": [0.2, 0.5, 3.0], "fp_weight": 0.4}),
    "no background": ("tversky", {"background": False, "class_weights": [0.2, 0.5, 3.0]}),
    "skip": ("tversky", {"absent": "skip", "fp_weight": 0.4, "fn_weight": 1.6}),
    "penalise": ("tversky", {"absent": "penalise", "fp_weight": [0.2, 0.9, 1.4]}),
    "slice": ("tversky", {"scope": "slice", "fp_weight": 0.4, "fn_weight": 1.6}),
    "slice skip": ("tversky", {"scope": "slice", "absent": "skip", "background": False}),
    "slice penalise": ("tversky", {"scope": "slice", "absent": "penalise", "fp_weight": 0.7}),
    "weighted entropy": ("cross_entropy", {"class_weights": [0.2, 0.5, 3.0]}),
    "one class is free": ("cross_entropy", {"class_weights": [0.2, 0.0, 3.0]}),
    "inverse frequency": ("crossE", {"class_frequencies": [0.7, 0.2, 0.1]}),
    "per organ": ("per_organ", {"organs": "dice", "against": "background"}),
    "per organ, each its own": (
        "per_organ",
        {"organs": [{"name": "tversky", "fp_weight": 0.4, "fn_weight": 1.6}, "dice_ce"], "weights": [0.3, 2.0]},
    ),
}


def ours(key: str) -> nn.Module:
    """Steelyard's own loss."""
    name, options = LOSSES_TO_EXPORT[key]
    return LOSSES[name](**options)


def export_to(key: str, out: Path, **options: Any) -> dict[str, Path]:
    """Writes the loss and returns the files by their endings."""
    name, given = LOSSES_TO_EXPORT[key]
    written = export(name, out=out, options=[f"{option}={value!r}" for option, value in given.items()], **options)
    return {path.suffix: path for path in written.files}


def imported(file: Path) -> ModuleType:
    """The exported module, without a trace in sys.modules."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
