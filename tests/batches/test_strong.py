"""The strong augmentation: each of its changes alone, and all together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from steelyard.batches.affine import RandomAffine
from steelyard.batches.strong import StrongAugmentation

NONE = StrongAugmentation(
    affine=RandomAffine(translate_px=0, rotate_deg=0, shear_deg=0, scale=0),
    elastic_px=0,
    log_gamma=0,
    brightness=0,
    log_contrast=0,
    log_bias=0,
    noise=0,
)
ROWS, COLUMNS = 64, 96
RAMP = torch.linspace(-2, 3, ROWS * COLUMNS).reshape(1, 1, ROWS, COLUMNS).repeat(12, 1, 1, 1)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relit(augmentation: StrongAugmentation, images: Tensor = RAMP) -> Tensor:
    return augmentation(images, torch.zeros(len(images), ROWS, COLUMNS).long(), random())[0]


def test_with_every_range_at_zero_nothing_changes():
    labels = torch.randint(0, 5, (12, ROWS, COLUMNS), generator=random())
    images, same = NONE(RAMP, labels, random())
    torch.testing.assert_close(images, RAMP, rtol=0, atol=1e-3)
    assert torch.equal(same, labels)


def test_gamma_bends_the_grey_scale_between_the_ends_that_it_keeps():
    bent = relit(replace(NONE, log_gamma=0.4))
    torch.testing.assert_close(bent.amin((1, 2, 3)), torch.full((12,), -2.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(bent.amax((1, 2, 3)), torch.full((12,), 3.0), rtol=0, atol=1e-3)
    assert (bent.flatten(1).diff() > -1e-4).all()  # what was brighter stays brighter
    middle = bent[:, 0, ROWS // 2, 0]  # (1/2)^γ of the span, γ between e^−.4 and e^.4
    assert (middle > -2 + 5 * 0.5**1.492 - 0.02).all()
    assert (middle < -2 + 5 * 0.5**0.670 + 0.02).all()
    assert middle.std() > 0.2


def test_brightness_adds_and_contrast_multiplies_within_their_ranges():
    added = relit(replace(NONE, brightness=0.3)) - RAMP
    assert added.flatten(1).std(1).max() < 1e-3
    assert 0.2 < added.abs().max() < 0.301
    factor = relit(replace(NONE, log_contrast=0.25)).flatten(1).std(1) / RAMP.flatten(1).std(1)
    assert 0.778 < factor.min() < 0.95
    assert 1.05 < factor.max() < 1.285


def test_a_bias_field_is_smooth_and_leaves_air_dark():
    images = RAMP.clone()
    images[:, :, :20] = -2  # air
    biased = relit(replace(NONE, log_bias=0.3), images)
    torch.testing.assert_close(biased[:, :, :20], images[:, :, :20], rtol=0, atol=1e-3)
    gain = (biased[:, 0, 21:] + 2) / (images[:, 0, 21:] + 2)
    assert gain.std() > 0.1
    assert gain.diff(dim=2).abs().max() < 0.1


def test_noise_has_at_most_the_spread_asked_for_and_no_pattern():
    noise = relit(replace(NONE, noise=0.1)) - RAMP
    spread = noise.flatten(1).std(1)
    assert spread.max() < 0.103
    assert spread.max() > 0.05
    assert spread.min() < 0.05
    assert noise.mean().abs() < 0.005
    assert torch.corrcoef(torch.stack([noise[0].flatten(), noise[1].flatten()]))[0, 1].abs() < 0.05


def test_the_elastic_map_moves_image_and_labels_together_by_about_what_is_asked():
    rows = torch.arange(ROWS)[None, :, None].expand(12, ROWS, COLUMNS)
    bent, labels = replace(NONE, elastic_px=3)(rows[:, None].float(), rows, random())
    inside = slice(16, -16)
    assert (bent[:, 0] - labels)[:, inside].abs().max() <= 0.5 + 1e-3
    moved = (bent[:, 0] - rows)[:, inside]
    assert 1 < moved.std() < 3.5
    assert moved.diff(dim=2).abs().max() < 1  # bent, not torn


def test_the_elastic_map_moves_rows_and_columns_by_as_many_pixels():
    rows = torch.arange(ROWS)[:, None].expand(ROWS, COLUMNS).float()
    columns = torch.arange(COLUMNS)[None].expand(ROWS, COLUMNS).float()
    images = torch.stack([rows, columns])[None].repeat(60, 1, 1, 1)
    bent, _ = replace(NONE, elastic_px=3)(images, torch.zeros(60, ROWS, COLUMNS).long(), random())
    moved = (bent - images)[:, :, 16:-16, 16:-16]
    assert float(moved[:, 0].std() / moved[:, 1].std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("images", [RAMP, torch.zeros_like(RAMP), 1e4 * RAMP], ids=["ramp", "constant", "huge"])
def test_all_together_stay_finite_keep_shape_and_labels_and_follow_the_generator(images: Tensor):
    labels = torch.tensor([0, 2, 4])[torch.randint(0, 3, (12, ROWS, COLUMNS), generator=random())]
    before = torch.get_rng_state()
    changed, moved = StrongAugmentation()(images, labels, random(5))
    again, moved_again = StrongAugmentation()(images, labels, random(5))
    other, _ = StrongAugmentation()(images, labels, random(6))
    assert changed.isfinite().all()
    assert (changed.shape, moved.shape) == (images.shape, labels.shape)
    assert set(moved.unique().tolist()) == {0, 2, 4}
    assert torch.equal(changed, again)
    assert torch.equal(moved, moved_again)
    assert not torch.equal(changed, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_phases_in_channels_are_bent_alike_and_lit_apart():
    images = RAMP.repeat(1, 2, 1, 1)
    bent, _ = replace(NONE, affine=RandomAffine(), elastic_px=3)(
        images, torch.zeros(12, ROWS, COLUMNS).long(), random()
    )
    assert torch.equal(bent[:, 0], bent[:, 1])
    lit = relit(replace(NONE, brightness=0.3), images)
    assert not torch.allclose(lit[:, 0], lit[:, 1])
