"""DeepLab v3 and v3+: output stride, reach, and MATLAB's 100 layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steelyard.networks import NETWORKS
from steelyard.networks.aspp import ASPP
from steelyard.networks.deeplabv3_resnet18 import DeepLabV3ResNet18
from steelyard.networks.deeplabv3plus_resnet18 import DeepLabV3PlusResNet18

RESNET18 = 11_176_512 - 2 * 49 * 64  # for one channel
PYRAMID = 512 * 256 + 3 * 9 * 512 * 256 + 4 * 2 * 256  # four convolutions without bias, four normalisations


@pytest.mark.parametrize("name", ["deeplabv3_resnet18", "deeplabv3plus_resnet18"])
def test_context_is_gathered_on_a_grid_of_16_pixels(name: str):
    network = NETWORKS[name](1, 2).eval()
    shapes: list[tuple[int, ...]] = []
    network.aspp.register_forward_hook(lambda module, inputs, output: shapes.extend((inputs[0].shape, output.shape)))
    with torch.no_grad():
        network(torch.zeros(1, 1, 64, 96))
    assert shapes == [(1, 512, 4, 6), (1, 256, 4, 6)]


def test_parameters_of_v3plus_are_those_of_matlabs_100_layers():
    decoder = (1024 * 256 + 512) + (64 * 48 + 96) + (9 * 304 * 256 + 512) + (9 * 256 * 256 + 512) + (256 * 5 + 5)
    with torch.device("meta"):
        network = DeepLabV3PlusResNet18(1, 5)
    assert sum(value.numel() for value in network.parameters()) == RESNET18 + PYRAMID + decoder
    # MATLAB: 20 convolutions in ResNet-18, 4 in the pyramid, dec_c1 to dec_c4, scorer; all but scorer are normalised
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 29
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 28


def test_parameters_of_v3_hold_an_image_branch_and_no_decoder():
    head = (512 * 256 + 256) + (1280 * 256 + 512) + (256 * 5 + 5)
    with torch.device("meta"):
        network = DeepLabV3ResNet18(1, 5)
    assert sum(value.numel() for value in network.parameters()) == RESNET18 + PYRAMID + head


def test_the_pyramid_looks_0_6_12_and_18_cells_to_each_side():
    pyramid = ASPP(1, image_pooling=False).eval()
    for reach, branch in zip((0, 6, 12, 18), pyramid.branches, strict=True):
        nn.init.ones_(branch[0].weight)
        impulse = torch.zeros(1, 1, 41, 43)
        impulse[0, 0, 20, 21] = 1
        rows, columns = branch(impulse)[0, 0].nonzero().T
        assert set(rows.tolist()) == {20 - reach, 20, 20 + reach}
        assert set(columns.tolist()) == {21 - reach, 21, 21 + reach}


def test_the_image_branch_brings_the_mean_of_the_whole_image_to_every_cell():
    def answers(image_pooling: bool) -> torch.Tensor:
        torch.manual_seed(5)
        pyramid = ASPP(2, image_pooling=image_pooling).eval()
        corner = torch.zeros(1, 2, 60, 60)
        corner[..., 0, 0] = 3600.0
        with torch.no_grad():
            return (pyramid(corner) - pyramid(torch.zeros_like(corner)))[..., 40:, 40:]

    assert not answers(False).any()
    assert answers(True).any()


def test_outlines_are_drawn_on_a_grid_of_16_pixels_by_v3_and_a_finer_one_by_v3plus():
    """Between the middles of its cells a network's logits are straight lines; kinks show how large the cells are."""
    image = torch.zeros(1, 1, 64, 64)
    image[..., 32:36, 32:36] = 5.0
    sharpness = {}
    for name in ("deeplabv3_resnet18", "deeplabv3plus_resnet18"):
        torch.manual_seed(1)
        with torch.no_grad():
            logits = NETWORKS[name](1, 2).eval()(image)[0, 1]
        second = logits[:, 2:] - 2 * logits[:, 1:-1] + logits[:, :-2]
        kinks = (second.abs() > 1e-4 * logits.std()).any(0).nonzero().flatten() + 1
        sharpness[name] = {(int(column) + 8) % 16 for column in kinks}
    assert sharpness["deeplabv3_resnet18"] <= {0, 15}  # straight lines between the middles of cells: 8, 24, 40, 56
    assert len(sharpness["deeplabv3plus_resnet18"]) > 4
