"""The fully connected CRF of one slice in torch, where no compiled code is installed.

The smoothness kernel is a product of one Gaussian along rows and one along columns, so it is summed exactly. The
appearance kernel is summed on a bilateral grid: pixels are spread linearly over the nodes of a coarse grid of rows,
columns and intensities, the nodes are blurred, and every pixel reads its own place.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from steelyard.postprocess.crf import DenseCrf, Floats

STEP = 0.5  # of the bilateral grid, in standard deviations
NOTHING = 1e-12  # of a Gaussian, more than 7 standard deviations away; numbers near 1e-40 would slow the sums tenfold
MOST_NODES = 30_000_000  # of a bilateral grid, all classes together: 120 MB

Filter = Callable[[Tensor], Tensor]


@torch.inference_mode()
def solve_slice(crf: DenseCrf, logs: Floats, intensities: Floats, pixel_mm: tuple[float, float]) -> Floats:
    """Probabilities (class, row, column) of log probabilities and scaled intensities (channel, row, column).

    Raises:
        ValueError: so many channels or so little contrast that the bilateral grid would fill the memory.
    """
    shape = logs.shape[1:]
    unary = torch.from_numpy(logs)
    pulls: list[tuple[float, Filter]] = []
    if crf.smoothness_weight:
        pulls.append((crf.smoothness_weight, _normalised(_smoothness(shape, pixel_mm, crf.smoothness_mm), shape)))
    if crf.appearance_weight:
        looks = intensities.reshape(len(intensities), -1) / crf.appearance_contrast
        places = np.indices(shape).reshape(2, -1) * np.array(pixel_mm)[:, None] / crf.appearance_mm
        grid = _appearance(np.concatenate([places, looks]), classes=len(logs))
        pulls.append((crf.appearance_weight, _normalised(grid, shape)))
    found = unary.softmax(0)
    for _ in range(crf.iterations):
        logits = unary.clone()
        for weight, filtered in pulls:
            logits += weight * filtered(found)
        found = logits.softmax(0)
    return found.numpy()


def _normalised(summed: Filter, shape: tuple[int, ...]) -> Filter:
    """K q / √(n n) of a filter K q, n = K 1."""
    scale = summed(torch.ones(1, *shape)).clamp_min(1e-20).rsqrt()
    return lambda q: scale * summed(q * scale)


def _smoothness(shape: tuple[int, ...], pixel_mm: tuple[float, float], reach_mm: float) -> Filter:
    rows, columns = (_gaussian(count, mm / reach_mm, 1.0) for count, mm in zip(shape, pixel_mm, strict=True))
    return lambda q: rows @ q @ columns


def _appearance(features: np.ndarray, *, classes: int) -> Filter:
    """Σ_j exp(−½ |f_i − f_j|²) q_j, for features (dimension, pixel) in standard deviations.

    Spreading and reading with linear weights each widen the kernel by STEP²/6 of variance; the nodes are blurred by so
    much less.
    """
    at = (features - features.min(axis=1, keepdims=True)) / STEP
    sizes = [int(top) + 2 for top in at.max(axis=1)]
    if classes * math.prod(sizes) > MOST_NODES:
        raise ValueError(
            f"a grid of {' × '.join(map(str, sizes))} nodes is too large; raise appearance_contrast or appearance_mm, "
            "or install the extra 'crf', which needs none"
        )
    first = np.floor(at).astype(np.int64)
    share = at - first
    strides = np.cumprod([1, *sizes[:0:-1]])[::-1]
    corners = np.array(list(itertools.product((0, 1), repeat=len(sizes))))[:, :, None]  # of the cell around a pixel
    nodes = ((first + corners) * strides[:, None]).sum(axis=1)
    weights = np.where(corners, share, 1 - share).prod(axis=1)
    read = _sparse_rows(nodes.T, weights.T, math.prod(sizes))
    spread = read.t().to_sparse_csr()
    blurs = [_gaussian(size, STEP, 1 - STEP**2 / 3) for size in sizes]

    def summed(q: Tensor) -> Tensor:
        grid = (spread @ q.flatten(1).t().contiguous()).view(*sizes, -1)
        for axis, blur in enumerate(blurs):
            grid = torch.tensordot(blur, grid, dims=([1], [axis])).movedim(0, axis)
        return (read @ grid.flatten(0, -2).contiguous()).t().reshape(q.shape)

    return summed


def _sparse_rows(columns: np.ndarray, values: np.ndarray, width: int) -> Tensor:
    """A sparse matrix of `width` columns whose every row has equally many entries."""
    height, entries = columns.shape
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # multiplying is all that is done
        return torch.sparse_csr_tensor(
            torch.arange(0, columns.size + 1, entries),
            torch.from_numpy(columns.ravel()),
            torch.from_numpy(values.ravel().astype(np.float32)),
            size=(height, width),
            check_invariants=True,
        )


def _gaussian(count: int, step: float, variance: float) -> Tensor:
    """exp(−½ (i − j)² step² / variance), (count, count), as `NOTHING` allows."""
    at = torch.arange(count, dtype=torch.float64) * step
    kernel = torch.exp(-0.5 * (at[:, None] - at[None]) ** 2 / variance)
    return kernel.where(kernel > NOTHING, 0).float()
