"""Steelyard weighs false negatives against false positives: train, compare and prove segmentation losses.

Names are loaded when they are first used, so that neither `import steelyard` nor `steelyard --help` waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.confusion import Confusion as Confusion
    from steelyard.datasets import DATASETS as DATASETS
    from steelyard.errors import BadData as BadData
    from steelyard.errors import BadSpec as BadSpec
    from steelyard.errors import Interrupted as Interrupted
    from steelyard.evaluate import evaluate_case as evaluate_case
    from steelyard.labels import LabelSet as LabelSet
    from steelyard.losses import LOSSES as LOSSES
    from steelyard.losses.cross_entropy import CrossEntropyLoss as CrossEntropyLoss
    from steelyard.losses.tversky import IoULoss as IoULoss
    from steelyard.metrics import METRICS as METRICS
    from steelyard.networks import NETWORKS as NETWORKS
    from steelyard.volume import Case as Case
    from steelyard.volume import Geometry as Geometry
    from steelyard.volume import LabelMap as LabelMap
    from steelyard.volume import Volume as Volume

__version__ = "0.1.0"

_HOMES = {
    "BadData": "errors",
    "BadSpec": "errors",
    "Case": "volume",
    "Confusion": "confusion",
    "CrossEntropyLoss": "losses.cross_entropy",
    "DATASETS": "datasets",
    "Geometry": "volume",
    "Interrupted": "errors",
    "IoULoss": "losses.tversky",
    "LOSSES": "losses",
    "LabelMap": "volume",
    "LabelSet": "labels",
    "METRICS": "metrics",
    "NETWORKS": "networks",
    "Volume": "volume",
    "evaluate_case": "evaluate",
}

__all__ = [
    "DATASETS",
    "LOSSES",
    "METRICS",
    "NETWORKS",
    "BadData",
    "BadSpec",
    "Case",
    "Confusion",
    "CrossEntropyLoss",
    "Geometry",
    "Interrupted",
    "IoULoss",
    "LabelMap",
    "LabelSet",
    "Volume",
    "evaluate_case",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"steelyard.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'steelyard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
