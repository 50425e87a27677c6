"""MATLAB's plain U-Net, layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steelyard.errors import BadSpec
from steelyard.networks.unet_matlab import UNetMATLAB


def test_parameters_are_those_of_the_58_layers():
    down = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    bridge = [(512, 1024), (1024, 1024)]
    up = [(1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64)]
    enlarge = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    by_hand = sum(9 * i * o + o for i, o in down + bridge + up) + sum(4 * i * o + o for i, o in enlarge) + (64 * 5 + 5)
    with torch.device("meta"):
        network = UNetMATLAB(1, 5)
    assert sum(value.numel() for value in network.parameters()) == by_hand == 31_030_853
    # input, 18 convolutions, 4 pools, 2 dropouts, 4 transposed, 22 ReLU, 4 joins, last convolution, softmax, loss = 58
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    transposed = [layer for layer in network.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert (len(convolutions), len(transposed)) == (19, 4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_half_the_values_are_dropped_after_the_fourth_stage_and_the_bridge_but_not_in_skips():
    network = UNetMATLAB(1, 2).train()
    dropped: list[float] = []
    network.dropout.register_forward_hook(
        lambda module, inputs, output: dropped.append(((output == 0) & (inputs[0] != 0)).sum() / (inputs[0] != 0).sum())
    )
    shapes: list[tuple[int, ...]] = []
    network.dropout.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    skips: list[torch.Tensor] = []
    network.down[3].register_forward_hook(lambda module, inputs, output: skips.append(output.clone()))
    network.up[0].register_forward_hook(lambda module, inputs, output: skips.append(inputs[0][:, :512]))
    with torch.no_grad():
        network(torch.randn(1, 1, 32, 48))
    assert shapes == [(1, 512, 4, 6), (1, 1024, 2, 3)]
    assert [round(float(share), 1) for share in dropped] == [0.5, 0.5]
    assert torch.equal(*skips)


def test_there_is_nothing_to_start_from():
    with pytest.raises(BadSpec, match="no pretrained encoder, but weights = 'imagenet'"):
        UNetMATLAB(1, 2, weights="imagenet")
