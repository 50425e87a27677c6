"""Wider changes than the study's: larger moves, elastic bending, and the ways in which scanners differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from steelyard.batches.affine import RandomAffine, resample_batch

WIDE = RandomAffine(translate_px=20, rotate_deg=20, shear_deg=10, scale=0.25)


@dataclass(frozen=True)
class StrongAugmentation:
    """A wide affine and an elastic map in one resampling, then gamma, brightness, bias field and noise.

    Images are expected at about unit spread, as `preprocess.normalise` leaves them.
    """

    affine: RandomAffine = WIDE
    elastic_px: float = 6.0  # spread of the displacement of the control points
    elastic_points: int = 5  # control points along each side
    log_gamma: float = 0.4  # gamma lies in e^±0.4
    brightness: float = 0.3  # in units of the body's spread
    log_contrast: float = 0.25
    log_bias: float = 0.3  # spread of the bias field's logarithm
    noise: float = 0.1  # largest spread of the noise added

    def __call__(
        self,
        images: Float[Tensor, "batch channel row column"],
        labels: Integer[Tensor, "batch row column"],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The batch bent and re-lit; labels move with the images and keep their values."""
        grid = self.affine.sample_grid(images, generator) + self._bend(images, generator)
        images, labels = resample_batch(images, labels, grid)
        return self._relight(images, generator), labels

    def _bend(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, rows, columns = images.shape
        points = torch.randn(batch, 2, self.elastic_points, self.elastic_points, generator=generator) * self.elastic_px
        points = points * torch.tensor([2 / columns, 2 / rows])[:, None, None]
        field = functional.interpolate(points, size=(rows, columns), mode="bicubic", align_corners=True)
        return field.permute(0, 2, 3, 1).to(images.device, non_blocking=True)

    def _relight(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, channels, rows, columns = images.shape
        draw = (torch.rand(batch, channels, 4, 1, 1, generator=generator) * 2 - 1).to(images.device, non_blocking=True)
        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        span = (high - low).clamp_min(1e-6)
        images = low + span * ((images - low) / span) ** (draw[:, :, 0] * self.log_gamma).exp()
        points = torch.randn(batch, 1, 3, 3, generator=generator) * self.log_bias
        bias = functional.interpolate(points, size=(rows, columns), mode="bicubic", align_corners=True)
        coil = bias.exp().to(images.device, non_blocking=True)
        images = low + (images - low) * coil  # it weakens the signal, and air has none
        images = images * (draw[:, :, 1] * self.log_contrast).exp() + draw[:, :, 2] * self.brightness
        noise = torch.randn(images.shape, generator=generator).to(images.device, non_blocking=True)
        return images + noise * (draw[:, :, 3].abs() * self.noise)
