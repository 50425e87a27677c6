"""Lets torchvision import beside a CPU-only torch: it expects two compiled operators that its wheel lacks there.

timm and segmentation-models-pytorch, which tests use as independent peers, import torchvision. Call `install()` before
importing them. The package itself never needs torchvision.
"""

from __future__ import annotations

import torch
from torch.library import Library

_LIBRARIES: list[Library] = []  # a library that is collected takes its operators with it


def install() -> None:
    """Declare `torchvision::nms` and `::qnms` unless something already has."""
    if _LIBRARIES or hasattr(torch.ops.torchvision, "nms"):
        return
    library = Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
