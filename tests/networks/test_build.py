"""Networks by name."""

from __future__ import annotations

import pytest
import torch

from steelyard.errors import BadSpec
from steelyard.networks.build import build_network


def test_a_network_from_elsewhere_is_seeded_like_our_own():
    def first_weight(seed: int) -> torch.Tensor:
        torch.rand(seed + 3)  # whatever ran before
        name = "monai.networks.nets:UNet"
        network = build_network(name, 1, 2, seed=seed, spatial_dims=2, channels=(4, 8), strides=(2,))
        return next(network.parameters()).detach()

    assert torch.equal(first_weight(1), first_weight(1))
    assert not torch.equal(first_weight(1), first_weight(2))
    before = torch.get_rng_state()
    build_network("unet_resnet18", 1, 2, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_options_reach_the_network():
    network = build_network("fcn8s_vgg16", 1, 2, seed=0, fc_channels=16, learned_upsampling=True)
    assert network.score_fc.in_channels == 16
    assert network.enlarge_pool3.weight.requires_grad


def test_a_network_from_elsewhere_is_tried_at_the_size_it_will_be_used_at():
    options = {"spatial_dims": 2, "channels": (4, 8, 8, 8, 8), "strides": (2,) * 4}  # needs multiples of 16
    build_network("monai.networks.nets:UNet", 1, 2, seed=0, size_px=(32, 48), **options)
    with pytest.raises(BadSpec, match="1 channels, 32×40 px"):
        build_network("monai.networks.nets:UNet", 1, 2, seed=0, size_px=(32, 40), **options)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "options", "said"),
    [
        ("unet_vgg", 1, 2, {}, "no network is named 'unet_vgg'. Did you mean 'unet_vgg16'?"),
        ("unet_resnet18", 0, 2, {}, "0 and 2 came"),
        ("unet_resnet18", 1, 1, {}, "1 and 1 came"),
        ("fcn8s_vgg16", 1, 2, {"learned_upsample": True}, "Did you mean 'learned_upsampling'"),
        ("unet_resnet18", 1, 2, {"zzz": 1}, "no option 'zzz'. It has: weights."),
    ],
)
def test_a_wrong_name_number_or_option_is_one_line(
    name: str, channels: int, classes: int, options: dict[str, object], said: str
):
    with pytest.raises(BadSpec, match=said) as caught:
        build_network(name, channels, classes, seed=0, **options)
    assert "\n" not in str(caught.value)
