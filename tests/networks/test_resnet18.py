"""ResNet-18 as an encoder, against torchvision's and, with dilation, timm's."""

from __future__ import annotations

import pytest
import torch

import torchvision_stub
from steelyard.networks.resnet18 import ResNet18

torchvision_stub.install()
import timm  # noqa: E402
from torchvision.models import resnet18 as torchvision_resnet18  # noqa: E402


@pytest.mark.parametrize("training", [True, False])
def test_names_and_activations_are_torchvisions(training: bool):
    peer = torchvision_resnet18().train(training)
    encoder = ResNet18(3).train(training)
    state = {key: value for key, value in peer.state_dict().items() if not key.startswith("fc.")}
    encoder.load_state_dict(state, strict=True)
    assert sum(value.numel() for value in encoder.parameters()) == 11_176_512

    images = torch.randn(2, 3, 64, 96)
    seen = []
    for layer in (peer.relu, peer.layer1, peer.layer2, peer.layer3, peer.layer4):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        peer(images)
        maps = encoder(images)
    for ours, theirs in zip(maps, seen, strict=True):
        assert torch.equal(ours, theirs)
    assert [tuple(value.shape[1:]) for value in maps] == [
        (64, 32, 48),
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]


def test_at_output_stride_16_the_last_stage_is_timms_dilated_one():
    peer = timm.create_model("resnet18", pretrained=False, output_stride=16).eval()
    for key, value in peer.named_parameters():
        if key.endswith("bn2.weight"):  # timm starts them at 0, which would hide the dilated convolutions
            torch.nn.init.uniform_(value, 0.5, 1.5)
    encoder = ResNet18(3, output_stride=16).eval()
    encoder.load_state_dict({key: value for key, value in peer.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 80, 112)
    with torch.no_grad():
        maps = encoder(images)[-1]
        torch.testing.assert_close(maps, peer.forward_features(images), rtol=1e-5, atol=1e-5)
    assert maps.shape == (1, 512, 5, 7)
