"""The random affine map, measured on pictures that are wider than high."""

from __future__ import annotations

from math import cos, radians, sin, tan

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from steelyard.batches.affine import RandomAffine, affine_grid

ROWS, COLUMNS = 40, 64
STILL = {"translate_px": 0.0, "rotate_deg": 0.0, "shear_deg": 0.0, "scale": 0.0}
ROW, COLUMN = torch.meshgrid(torch.arange(ROWS) - 19.5, torch.arange(COLUMNS) - 31.5, indexing="ij")  # from the centre


def only(**ranges: float) -> RandomAffine:
    return RandomAffine(**STILL | ranges)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def at_the_end_of_its_range(monkeypatch: pytest.MonkeyPatch):
    """Sets every random number to 1, the upper end, or to another given value."""

    def set_to(value: float = 1.0) -> None:
        monkeypatch.setattr(torch, "rand", lambda *size, generator: torch.full(size, value))

    return set_to


def dot(row: float, column: float, *, width: float = 2.0) -> Tensor:
    """A smooth spot, (1, 1, row, column), its position given from the centre."""
    return torch.exp(-((ROW - row) ** 2 + (COLUMN - column) ** 2) / (2 * width**2))[None, None]


def position(weights: Tensor) -> tuple[float, float]:
    """The centre of mass, from the centre of the picture."""
    total = weights.sum()
    return float((weights * ROW).sum() / total), float((weights * COLUMN).sum() / total)


def moved_dot(affine: RandomAffine, row: float, column: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a spot goes, in the image and in the labels."""
    image = dot(row, column)
    moved, labels = affine(image, (image[:, 0] > 0.3).to(torch.uint8), random())
    return position(moved[0, 0]), position(labels[0].float())


def test_a_shift_by_whole_pixels_moves_image_and_labels_by_exactly_that(at_the_end_of_its_range):
    at_the_end_of_its_range()
    images = torch.rand_like(torch.empty(2, 3, 20, 32))
    labels = torch.randint(0, 5, (2, 20, 32), generator=random())
    moved, moved_labels = only(translate_px=3)(images, labels, random())
    torch.testing.assert_close(moved[..., :-3, :-3], images[..., 3:, 3:], rtol=0, atol=1e-4)
    assert torch.equal(moved_labels[..., :-3, :-3], labels[..., 3:, 3:])


def test_half_a_pixel_is_interpolated_in_images_and_never_in_labels(at_the_end_of_its_range):
    at_the_end_of_its_range()
    step = torch.zeros(1, 1, 8, 12)
    step[..., 6:] = 4
    moved, labels = only(translate_px=0.4)(step, step[:, 0].to(torch.uint8), random())
    assert float(moved[0, 0, 4, 5]) == pytest.approx(0.4 * 4, abs=1e-4)
    assert labels.unique().tolist() == [0, 4]
    assert torch.equal(labels[0].float(), step[0, 0])


@pytest.mark.parametrize(("row", "column"), [(0, 15), (10, 0), (-6, 11)])
def test_a_turn_takes_a_point_where_trigonometry_says(at_the_end_of_its_range, row: float, column: float):
    """The picture turns against the direction in which the reading grid turns; rows and columns are equally long."""
    at_the_end_of_its_range()
    c, s = cos(radians(30)), sin(radians(30))
    expected = (c * row - s * column, s * row + c * column)
    in_image, in_labels = moved_dot(only(rotate_deg=30), row, column)
    assert in_image == pytest.approx(expected, abs=0.05)
    assert in_labels == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(("row", "column"), [(0, 15), (10, 0), (-6, 11)])
def test_a_shear_takes_a_point_where_trigonometry_says(at_the_end_of_its_range, row: float, column: float):
    """First columns slide by tan 20° of their row, then rows by tan 20° of their new column."""
    at_the_end_of_its_range()
    new_column = column - tan(radians(20)) * row
    expected = (row - tan(radians(20)) * new_column, new_column)
    in_image, in_labels = moved_dot(only(shear_deg=20), row, column)
    assert in_image == pytest.approx(expected, abs=0.05)
    assert in_labels == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(("draw", "growth"), [(1.0, 1.1), (0.0, 0.9), (0.5, 1.0)])
def test_scale_enlarges_a_disc_in_both_directions(at_the_end_of_its_range, draw: float, growth: float):
    at_the_end_of_its_range(draw)
    disc = (ROW**2 + COLUMN**2 < 15**2).to(torch.uint8)[None]
    image, labels = only(scale=0.1)(disc[:, None].float(), disc, random())
    assert float(labels.sum()) / float(disc.sum()) == pytest.approx(growth**2, rel=0.03)
    assert float(image.sum()) / float(disc.sum()) == pytest.approx(growth**2, rel=0.01)
    assert int(labels.any(2).sum()) == pytest.approx(30 * growth, abs=1)
    assert int(labels.any(1).sum()) == pytest.approx(30 * growth, abs=1)


def test_no_draw_leaves_the_ranges_and_all_of_them_are_used():
    spots = dot(0, 0).expand(200, -1, -1, -1)
    labels = torch.zeros(200, ROWS, COLUMNS, dtype=torch.long)
    shifts = torch.tensor([position(spot[0]) for spot in only(translate_px=4)(spots, labels, random())[0]])
    assert 3.5 < shifts.max() < 4.01
    assert -4.01 < shifts.min() < -3.5
    assert abs(torch.corrcoef(shifts.T)[0, 1]) < 0.3  # rows and columns are drawn apart

    disc = (ROW**2 + COLUMN**2 < 12**2).float()
    grown = RandomAffine(translate_px=2)(disc.expand(200, 1, -1, -1), labels, random())[0].sum((1, 2, 3)) / disc.sum()
    assert 0.80 < grown.min() < 0.85  # 0.9² = 0.81; a turn and a shear change no area
    assert 1.17 < grown.max() < 1.22  # 1.1² = 1.21

    turned = only(rotate_deg=20)(dot(0, 15).expand(200, -1, -1, -1), labels, random())[0]
    rows = torch.tensor([position(spot[0])[0] for spot in turned])
    assert rows.abs().max() < 15 * sin(radians(20)) + 0.1
    assert rows.max() > 4
    assert rows.min() < -4


def test_images_all_their_channels_and_labels_move_together():
    """The image shows the row in one channel and the column in another, the labels the row."""
    images = torch.stack([ROW + 19.5, COLUMN + 31.5, ROW + 19.5])[None].expand(20, -1, -1, -1)
    moved, labels = RandomAffine()(images, images[:, 0].long(), random(3))
    assert torch.equal(moved[:, 0], moved[:, 2])
    assert (moved[:, 0] - labels).abs().max() <= 0.5 + 1e-3
    assert (moved[:, 0] - images[:, 0]).abs().max() > 5


def test_every_slice_of_a_batch_has_its_own_map():
    moved, _ = RandomAffine()(dot(3, 5).expand(4, -1, -1, -1), torch.zeros(4, ROWS, COLUMNS).long(), random())
    assert len({position(image[0]) for image in moved}) == 4


def test_labels_keep_their_values_and_type_and_a_flat_image_stays_flat_to_the_edge():
    labels = torch.tensor([0, 3, 200], dtype=torch.uint8)[torch.randint(0, 3, (8, ROWS, COLUMNS), generator=random())]
    moved, moved_labels = RandomAffine()(torch.full((8, 1, ROWS, COLUMNS), -1.5), labels, random())
    assert moved_labels.dtype == torch.uint8
    assert set(moved_labels.unique().tolist()) == {0, 3, 200}
    torch.testing.assert_close(moved, torch.full_like(moved, -1.5))


def test_the_generator_alone_decides():
    images, labels = dot(3, 5).expand(4, -1, -1, -1), torch.zeros(4, ROWS, COLUMNS).long()
    before = torch.get_rng_state()
    once, again, other = (RandomAffine()(images, labels, random(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_defaults_are_the_studys():
    assert RandomAffine() == RandomAffine(translate_px=10, rotate_deg=10, shear_deg=10, scale=0.1)


def test_a_batch_without_channels_breaks_the_signature():
    with pytest.raises(TypeCheckError, match="images"):
        RandomAffine()(torch.zeros(2, ROWS, COLUMNS), torch.zeros(2, ROWS, COLUMNS).long(), random())


def test_the_grid_is_torchs_of_the_same_matrices():
    """In float64, on slices that are not square, with maps that no study would draw."""
    theta = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = torch.nn.functional.affine_grid(theta, [3, 1, 5, 8], align_corners=False)
    torch.testing.assert_close(affine_grid(theta.float(), 5, 8).double(), theirs, rtol=0, atol=1e-6)
