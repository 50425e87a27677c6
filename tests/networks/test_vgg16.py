"""VGG-16 as an encoder, against torchvision's own."""

from __future__ import annotations

import torch

import torchvision_stub
from steelyard.networks.vgg16 import VGG16

torchvision_stub.install()
from torchvision.models import vgg16 as torchvision_vgg16  # noqa: E402


def test_names_shapes_and_activations_are_torchvisions():
    with torch.device("meta"):  # its classifier, half a gigabyte, is not needed
        names = {key: value.shape for key, value in torchvision_vgg16().state_dict().items()}
    encoder = VGG16(3).eval()
    assert {key: value.shape for key, value in encoder.state_dict().items()} == {
        key: shape for key, shape in names.items() if key.startswith("features.")
    }
    assert sum(value.numel() for value in encoder.parameters()) == 14_714_688  # torchvision's vgg16 less its classifier

    with torch.device("meta"):
        peer = torchvision_vgg16().features
    peer = peer.to_empty(device="cpu")
    peer.load_state_dict({key.removeprefix("features."): value for key, value in encoder.state_dict().items()})
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = encoder(images)
        for block, pool, end in zip(features.blocks, features.pools, (5, 10, 17, 24, 31), strict=True):
            assert torch.equal(block, peer[: end - 1](images))
            assert torch.equal(pool, peer[:end](images))
    assert [tuple(block.shape[1:]) for block in features.blocks] == [
        (64, 64, 96),
        (128, 32, 48),
        (256, 16, 24),
        (512, 8, 12),
        (512, 4, 6),
    ]
