"""Prediction: from prepared slices to probabilities on the scan's own grid, and the label map that they imply."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from steelyard.labels import LabelSet
from steelyard.precision import Precision, autocast
from steelyard.preprocess.cache import PreparedCase, with_context
from steelyard.volume import Geometry, LabelMap

SLICES_AT_ONCE = 16


@torch.inference_mode()
def predict_logits(
    network: nn.Module, images: Float[Tensor, "slice channel row column"], *, precision: Precision
) -> Float[Tensor, "slice class row column"]:
    """Logits in float32 for every slice, a few slices at a time. Leaves the network in eval mode."""
    network.eval()
    parts = []
    for chunk in images.split(SLICES_AT_ONCE):
        with autocast(images.device, precision):
            logits = network(chunk.contiguous(memory_format=torch.channels_last))
        parts.append(logits.float())
    return torch.cat(parts)


def predict_classes(
    network: nn.Module, images: Float[Tensor, "slice channel row column"], *, precision: Precision
) -> UInt8[Tensor, "slice row column"]:
    """The most probable class of every pixel on the network's grid."""
    return predict_logits(network, images, precision=precision).argmax(1).to(torch.uint8)


def predict_probabilities(
    network: nn.Module, case: PreparedCase, *, context: int, device: torch.device, precision: Precision
) -> np.ndarray:
    """Softmax probabilities (class, slice, row, column), float32, resampled linearly to the case's own grid.

    Outside the network's field of view the background has probability 1.
    """
    images = torch.tensor(with_context(case.images, context), device=device)  # copied: cached arrays are read-only
    probabilities = predict_logits(network, images, precision=precision).softmax(1)
    return case.plane.probabilities_to_native(probabilities.permute(1, 0, 2, 3).cpu().numpy())


def to_label_map(probabilities: np.ndarray, geometry: Geometry, label_set: LabelSet) -> LabelMap:
    """The most probable class of every voxel; the lower class index where two are equal."""
    return LabelMap(probabilities.argmax(0).astype(np.uint8), geometry, label_set)
