"""Fully connected CRF: pixels that lie close together, or look alike and lie not too far, are drawn to one organ.

It looks at the image once more after the network has spoken, slice by slice: specks vanish, and outlines move to where
the brightness changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Backend = Literal["pydensecrf2", "mean_field"]
Floats = NDArray[np.float32]
OfSlice = Callable[["DenseCrf", Floats, Floats, tuple[float, float]], Floats]

PROBABILITY_FLOOR = 1e-12  # what an exact 0 counts as: far below what any pull can lift
DARKEST, BRIGHTEST = 1.0, 99.0  # percentiles: a few bright vessels or an artefact must not decide what contrast is


@dataclass(frozen=True)
class DenseCrf:
    """Fully connected CRF with Potts costs, solved by mean field on each slice.

        Q_i(c) ∝ p_i(c) exp( Σ_j s_ij Q_j(c) + Σ_j a_ij Q_j(c) )        starting from Q = p, all pixels at once
        s_ij = smoothness_weight · exp(−d_ij² / 2 smoothness_mm²) / √(n_i n_j)
        a_ij = appearance_weight · exp(−d_ij² / 2 appearance_mm² − (I_i − I_j)² / 2 appearance_contrast²) / √(m_i m_j)

    d_ij is the distance in the slice in millimetres, whatever the pixels' shape; n_i and m_i are the sums of the bare
    Gaussians over all pixels j, so that a weight is the most that a pixel's surroundings can add to its log odds, at
    every spacing. As in the authors' own later code and in DeepLab's, a pixel counts among its own surroundings; the
    article leaves it out. Intensities of a case are scaled so that their 1st percentile is 0 and their 99th is 1, and
    cut off there; of several channels each is scaled by itself and the squares are added.

    Args:
        smoothness_weight, smoothness_mm: of the kernel that knows places alone.
        appearance_weight, appearance_mm: of the kernel that knows places and intensities.
        appearance_contrast: the difference in scaled intensity beyond which two pixels let go of each other.
        iterations: of the mean field.

    The defaults are DeepLab's where they carry over (weights 3 and 4, 10 iterations, 3 pixels as 5 mm); its reach and
    contrast for photographs (30–100 pixels, 3–6 of 255) are 30 mm and .05 here, for noisier and smoother images.

    >>> DenseCrf(smoothness_weight=3).apply(probabilities, image, (5.5, 1.6, 1.6))

    Raises:
        ValueError: a weight below 0, a distance or contrast that is not above 0, no iteration.

    Source: Krähenbühl and Koltun, NIPS 2011, eq. 3 and algorithm 1; normalised kernels: the same, ICML 2013; Chen et
    al., "DeepLab", PAMI 2018, section 3.3.
    """

    smoothness_weight: float = 3.0
    smoothness_mm: float = 5.0
    appearance_weight: float = 4.0
    appearance_mm: float = 30.0
    appearance_contrast: float = 0.05
    iterations: int = 10

    def __post_init__(self) -> None:
        for name in ("smoothness_weight", "appearance_weight"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be 0 or more; came {getattr(self, name)}")
        for name in ("smoothness_mm", "appearance_mm", "appearance_contrast"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be above 0; came {getattr(self, name)}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more; came {self.iterations}")

    def apply(
        self,
        probabilities: np.ndarray,
        image: np.ndarray,
        spacing_mm: tuple[float, float, float],
        *,
        backend: Backend | None = None,
    ) -> Floats:
        """New probabilities (class, slice, row, column), float32; those of a voxel add up to 1.

        Args:
            probabilities: (class, slice, row, column).
            image: (slice, row, column) or (channel, slice, row, column), on the same grid.
            spacing_mm: of slices, rows and columns.
            backend: `available_backend()` when None. The same input gives the same output on the same backend.

        With both weights 0 the probabilities come back as they are.

        Raises:
            ValueError: shapes that do not fit, a spacing that is not above 0, or numbers that are not finite.
        """
        channels = image if image.ndim == 4 else image[None]
        if probabilities.ndim != 4 or channels.ndim != 4 or probabilities.shape[1:] != channels.shape[1:]:
            raise ValueError(
                f"probabilities (class, slice, row, column) and an image on the same grid are needed; came shapes "
                f"{probabilities.shape} and {image.shape}"
            )
        if len(spacing_mm) != 3 or not all(np.isfinite(mm) and mm > 0 for mm in spacing_mm):
            raise ValueError(f"three spacings above 0 mm are needed; came {spacing_mm}")
        before = probabilities.astype(np.float32)
        if not (np.isfinite(before).all() and np.isfinite(channels).all()):
            raise ValueError("probabilities and intensities must be finite numbers")
        if self.smoothness_weight == self.appearance_weight == 0:
            return before
        of_slice = _solver(backend or available_backend())
        intensities, pixel_mm = scaled_intensities(channels), (float(spacing_mm[1]), float(spacing_mm[2]))
        after = np.empty_like(before)
        for index in range(before.shape[1]):
            logs = np.log(np.maximum(before[:, index], PROBABILITY_FLOOR))
            after[:, index] = of_slice(self, logs, intensities[:, index], pixel_mm)
        return after


def available_backend() -> Backend:
    """`pydensecrf2` (the extra `crf`: quicker) where it is installed, else `mean_field`, which needs nothing more."""
    return "pydensecrf2" if find_spec("pydensecrf") is not None else "mean_field"


def scaled_intensities(channels: np.ndarray) -> Floats:
    """Each channel of (channel, slice, row, column) with its 1st percentile at 0 and its 99th at 1, cut off there.

    A channel without contrast between the two is 0 everywhere.
    """
    scaled = np.zeros(channels.shape, np.float32)
    for channel, found in zip(scaled, channels, strict=True):
        low, high = np.percentile(found, (DARKEST, BRIGHTEST))
        if high > low:
            channel[:] = np.clip((found - low) / (high - low), 0, 1)
    return scaled


def _solver(backend: Backend) -> OfSlice:
    if backend == "pydensecrf2":
        from steelyard.postprocess.crf_lattice import solve_slice
    elif backend == "mean_field":
        from steelyard.postprocess.crf_mean_field import solve_slice
    else:
        raise ValueError(f"backend must be 'pydensecrf2' or 'mean_field'; came {backend!r}")
    return solve_slice
