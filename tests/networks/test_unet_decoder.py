"""The rising arm of a U-Net, and the two networks that share it."""

from __future__ import annotations

import torch
from torch import nn

from steelyard.networks.unet_decoder import UNetDecoder
from steelyard.networks.unet_resnet18 import UNetResNet18
from steelyard.networks.unet_vgg16 import UNetVGG16


def test_every_stage_doubles_the_size_and_joins_the_map_of_that_size():
    decoder = UNetDecoder(12, skips=(7, 5, 0), widths=(6, 4, 3), classes=2)
    skips = (torch.randn(1, 7, 4, 6), torch.randn(1, 5, 8, 12), None)
    assert decoder(torch.randn(1, 12, 2, 3), skips).shape == (1, 2, 16, 24)


def _stage(below: int, skip: int, width: int) -> int:
    """Transposed 2×2 with bias, two 3×3 without, two normalisations."""
    return 4 * below * width + width + 9 * (width + skip) * width + 9 * width * width + 4 * width


def test_parameters_of_unet_vgg16_by_hand():
    stages = _stage(512, 512, 512) + _stage(512, 256, 256) + _stage(256, 128, 128) + _stage(128, 64, 64)
    encoder = 14_714_688 - 2 * 9 * 64  # one channel instead of three
    with torch.device("meta"):
        count = sum(value.numel() for value in UNetVGG16(1, 5).parameters())
    assert count == encoder + stages + 64 * 5 + 5


def test_parameters_of_unet_resnet18_by_hand():
    stages = (
        _stage(512, 256, 256) + _stage(256, 128, 128) + _stage(128, 64, 64) + _stage(64, 64, 32) + _stage(32, 0, 16)
    )
    encoder = 11_176_512 - 2 * 49 * 64
    with torch.device("meta"):
        count = sum(value.numel() for value in UNetResNet18(1, 5).parameters())
    assert count == encoder + stages + 16 * 5 + 5


def test_a_pixel_sees_near_ones_through_skips_and_far_ones_through_the_bridge():
    """Fields of VGG-16 are 196 px wide at relu5_3 and 92 px at relu4_3; two 3×3 convolutions at each of 8, 4, 2 and 1
    px add 30 px to each side. Where a cell's pixel lies in it takes up to 15 px from that."""
    network = UNetVGG16(1, 2).eval()

    def reach_px(images: torch.Tensor) -> int:
        (gradient,) = torch.autograd.grad(network(images)[0, 1, 16, 16], images)
        return int(gradient[0, 0].abs().sum(0).nonzero().max()) - 16

    torch.manual_seed(6)
    images = torch.randn(1, 1, 32, 320, requires_grad=True)
    whole = reach_px(images)
    nn.init.zeros_(network.decoder.stages[0].enlarge.weight)
    without_bridge = reach_px(images)
    assert 98 + 30 - 15 <= whole <= 98 + 30
    assert 46 + 30 - 15 <= without_bridge <= 46 + 30
