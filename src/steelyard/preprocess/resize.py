"""Where a network's pixels lie in the scan's own slices, and how images, labels and probabilities cross over.

Both directions are linear interpolation along rows and columns, written as two small matrices, so that mapping a
volume is two matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class PlaneMap:
    """Network pixel i lies at native pixel `offset + scale · i`, along rows and columns alike.

    `native_shape` is (rows, columns) of the scan's slices, `size` the network's square; `scale` is in native pixels
    per network pixel, `offset` is the native position of network pixel 0.
    """

    native_shape: tuple[int, int]
    size: int
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_network(self, slices: np.ndarray, *, fill: float) -> np.ndarray:
        """Images (…, rows, columns) → (…, size, size), linear and smoothed when pixels are merged; `fill` outside."""
        if self._shift is not None:
            return _moved(slices, self._shift, (self.size, self.size), fill, np.float32)
        rows, columns = (
            _interpolation(self._network_positions(axis), self.native_shape[axis], max(1.0, self.scale[axis]))
            for axis in (0, 1)
        )
        return _apply(rows, slices, columns, fill)

    def labels_to_network(self, labels: np.ndarray) -> np.ndarray:
        """Class indices (slice, rows, columns) → (slice, size, size), nearest neighbour, background outside."""
        if self._shift is not None:
            return _moved(labels, self._shift, (self.size, self.size), 0, labels.dtype)
        mapped = np.zeros((*labels.shape[:-2], self.size, self.size), labels.dtype)
        row_in, row_out = self._nearest(0)
        column_in, column_out = self._nearest(1)
        mapped[..., row_out[:, None], column_out] = labels[..., row_in[:, None], column_in]
        return mapped

    def probabilities_to_native(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (class, …, size, size) → (class, …, rows, columns), linear; pure background outside.

        Class 0 is the background. Sums over classes stay 1.
        """
        if self._shift is not None:
            back = (-self._shift[0], -self._shift[1])
            native = _moved(probabilities, back, self.native_shape, 0.0, np.float32)
            native[0] = _moved(probabilities[0], back, self.native_shape, 1.0, np.float32)
            return native
        rows, columns = (
            _interpolation((np.arange(self.native_shape[axis]) - self.offset[axis]) / self.scale[axis], self.size, 1.0)
            for axis in (0, 1)
        )
        background = _apply(rows, probabilities[:1], columns, 1.0)
        return np.concatenate([background, _apply(rows, probabilities[1:], columns, 0.0)])

    @cached_property
    def _shift(self) -> tuple[int, int] | None:
        """Where network pixels are native pixels, which of these is network pixel 0; None where one interpolates."""
        whole = self.scale == (1.0, 1.0) and all(offset == int(offset) for offset in self.offset)
        return (int(self.offset[0]), int(self.offset[1])) if whole else None

    def _network_positions(self, axis: int) -> np.ndarray:
        return self.offset[axis] + self.scale[axis] * np.arange(self.size)

    def _nearest(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Native and network indices, of equal length, for the network pixels that lie inside the native slice."""
        native = np.floor(self._network_positions(axis) + 0.5).astype(int)
        network = np.flatnonzero((native >= 0) & (native < self.native_shape[axis]))
        return native[network], network


def crop_or_pad(native_shape: tuple[int, int], size: int) -> PlaneMap:
    """Native pixels, the centre `size` × `size` of the slice: what the study does."""
    rows, columns = native_shape
    return PlaneMap(native_shape, size, (1.0, 1.0), (float((rows - size) // 2), float((columns - size) // 2)))


def resample(
    native_shape: tuple[int, int],
    native_spacing_mm: tuple[float, float],
    body: np.ndarray,
    *,
    size: int,
    spacing_mm: float,
) -> PlaneMap:
    """One in-plane spacing for all patients, with the middle of the body's bounding box in the middle of the square.

    `body` is a boolean (slice, row, column) mask; `native_spacing_mm` is (row, column).
    """
    scale = (spacing_mm / native_spacing_mm[0], spacing_mm / native_spacing_mm[1])
    middles = []
    for axis in (1, 2):
        inside = np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis})))
        middles.append((inside[0] + inside[-1]) / 2)
    offset = tuple(middle - step * (size - 1) / 2 for middle, step in zip(middles, scale, strict=True))
    return PlaneMap(native_shape, size, scale, (float(offset[0]), float(offset[1])))


def _interpolation(positions: np.ndarray, count: int, width: float) -> np.ndarray:
    """Weights (position, source) of a triangle of half-width `width` around each position, over `count` samples.

    Each row sums to 1 well inside, and to less where the triangle reaches beyond the samples.
    """
    reach = 2 * int(np.ceil(width))  # whatever a triangle that touches a sample may touch beyond it
    sources = np.arange(-reach, count + reach)
    weights = np.maximum(0.0, 1 - np.abs(positions[:, None] - sources) / width)
    total = weights.sum(1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return weights[:, reach : reach + count].astype(np.float32)


def _apply(rows: np.ndarray, planes: np.ndarray, columns: np.ndarray, fill: float) -> np.ndarray:
    """rows · plane · columnsᵀ for every plane, with `fill` where the weights do not reach 1."""
    covered = np.outer(rows.sum(1), columns.sum(1))
    return np.matmul(np.matmul(rows, planes.astype(np.float32, copy=False)), columns.T) + fill * (1 - covered).astype(
        np.float32
    )


def _moved(
    planes: np.ndarray, first: tuple[int, int], shape: tuple[int, int], fill: float, dtype: DTypeLike
) -> np.ndarray:
    """Planes of that shape whose pixel (0, 0) is pixel `first` of `planes`, with `fill` outside these."""
    spans = [
        (max(0, -start), max(0, -start, min(count, there - start)))
        for start, count, there in zip(first, shape, planes.shape[-2:], strict=True)
    ]
    (rows, columns), (from_row, from_column) = ((slice(*span) for span in spans), first)
    moved = np.full((*planes.shape[:-2], *shape), fill, dtype)
    moved[..., rows, columns] = planes[
        ..., rows.start + from_row : rows.stop + from_row, columns.start + from_column : columns.stop + from_column
    ]
    return moved
