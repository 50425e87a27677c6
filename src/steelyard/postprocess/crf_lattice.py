"""The fully connected CRF of one slice by the permutohedral lattice: the compiled code of the extra `crf`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from steelyard.postprocess.crf import DenseCrf, Floats


def solve_slice(crf: DenseCrf, logs: Floats, intensities: Floats, pixel_mm: tuple[float, float]) -> Floats:
    """Probabilities (class, row, column) of log probabilities and scaled intensities (channel, row, column).

    The lattice filters by an approximate Gaussian: `crf_mean_field` is nearer to the formula.
    """
    from pydensecrf.densecrf import DIAG_KERNEL, NORMALIZE_SYMMETRIC, DenseCRF

    classes, rows, columns = logs.shape
    places = np.indices((rows, columns), np.float32).reshape(2, -1) * np.array(pixel_mm, np.float32)[:, None]
    looks = intensities.reshape(len(intensities), -1) / np.float32(crf.appearance_contrast)
    field = DenseCRF(rows * columns, classes)
    field.setUnaryEnergy(np.ascontiguousarray(-logs.reshape(classes, -1), np.float32))
    for weight, features in (
        (crf.smoothness_weight, places / np.float32(crf.smoothness_mm)),
        (crf.appearance_weight, np.concatenate([places / np.float32(crf.appearance_mm), looks])),
    ):
        if weight:
            field.addPairwiseEnergy(
                np.ascontiguousarray(features, np.float32),
                compat=weight,
                kernel=DIAG_KERNEL,
                normalization=NORMALIZE_SYMMETRIC,
            )
    return np.array(field.inference(crf.iterations), np.float32).reshape(logs.shape)
