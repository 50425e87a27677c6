"""The losses of segmentation-models-pytorch, importable beside a CPU-only torch; name them `smp_losses.py:DiceLoss`."""

from __future__ import annotations

import torchvision_stub

torchvision_stub.install()

from segmentation_models_pytorch.losses import (  # noqa: E402
    DiceLoss,
    FocalLoss,
    JaccardLoss,
    LovaszLoss,
    SoftCrossEntropyLoss,
    TverskyLoss,
)

__all__ = ["DiceLoss", "FocalLoss", "JaccardLoss", "LovaszLoss", "SoftCrossEntropyLoss", "TverskyLoss"]
