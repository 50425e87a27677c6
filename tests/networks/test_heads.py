"""One head per organ: heads learn apart, answer together, and the most probable organ wins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steelyard.losses.per_organ import per_organ
from steelyard.networks.build import build_network
from steelyard.networks.heads import HeadPerOrgan

ORGANS = ["cross_entropy", {"name": "tversky", "fp_weight": 0.5, "fn_weight": 1.5}, "dice"]


def head_of(*weights: float) -> nn.Module:
    """A head that answers the sum of its maps times its weight."""
    remaining = iter(weights)

    def build() -> nn.Module:
        head = nn.Conv2d(2, 1, 1, bias=False)
        nn.init.constant_(head.weight, next(remaining))
        return head

    return HeadPerOrgan(build, classes=len(weights) + 1)


def gradients(network: nn.Module, **options: object) -> dict[str, Tensor]:
    """Of every parameter, on the same batch each time."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 1, 64, 64, generator=generator)
    target = torch.randint(4, (2, 64, 64), generator=generator)
    network.train().zero_grad(set_to_none=False)
    per_organ(**({"organs": ORGANS, "against": "background"} | options))(network(images), target).backward()  # type: ignore[arg-type]
    return {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_network("unet_resnet18_heads", 1, 4, seed=7)


def test_the_largest_logit_is_the_most_probable_organ_or_background_where_all_are_below_one_half() -> None:
    odds = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    logits = torch.cat([torch.zeros(5, 1, 6, 6), odds], dim=1)
    sigmoid = odds.sigmoid()
    merged = torch.where(sigmoid.amax(1) > 0.5, sigmoid.argmax(1) + 1, 0)
    assert {int(c) for c in merged.unique()} == {0, 1, 2, 3, 4}
    assert torch.equal(logits.argmax(1), merged)

    maps = torch.tensor([[1.0, 2.0]])[:, :, None, None]
    assert head_of(0.5, -2.0, 1.5)(maps).flatten().tolist() == [0.0, 1.5, -6.0, 4.5]


def test_their_softmax_is_what_independent_heads_say_of_a_voxel_in_at_most_one_organ() -> None:
    """Heads .8, .3 and .6: none at all .2·.7·.4 = .056, the first alone .8·.7·.4 = .224, then .024 and .084."""
    probability = torch.tensor([0.8, 0.3, 0.6])
    logits = torch.cat([torch.zeros(1), probability.logit()])
    alone = torch.tensor([0.056, 0.224, 0.024, 0.084])
    torch.testing.assert_close(logits.softmax(0), alone / alone.sum())


def test_an_organs_loss_reaches_its_head_and_the_encoder_and_no_other_head(network: nn.Module) -> None:
    for organ in range(3):
        weights = [float(other == organ) for other in range(3)]
        moved = {
            key.split(".stages")[0].split(".logits")[0]
            for key, g in gradients(network, weights=weights).items()
            if g.any()
        }
        heads = {key for key in moved if key.startswith("heads.")}
        assert heads == {f"heads.{organ}"}
        assert "encoder.conv1.weight" in moved


def test_what_another_head_is_charged_changes_nothing_for_this_one(network: nn.Module) -> None:
    before = gradients(network)
    after = gradients(network, organs=[ORGANS[0], ORGANS[1], "cross_entropy"])
    for key, gradient in before.items():
        if key.startswith(("heads.0", "heads.1")):
            assert torch.equal(gradient, after[key]), key
    assert not torch.equal(before["heads.2.logits.weight"], after["heads.2.logits.weight"])
    together = gradients(network, against="rest")
    assert not torch.allclose(before["heads.0.logits.weight"], together["heads.0.logits.weight"])


def test_heads_start_unlike_each_other_on_the_encoder_of_unet_resnet18(network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    assert not torch.equal(parameters["heads.0.logits.weight"], parameters["heads.1.logits.weight"])
    plain = dict(build_network("unet_resnet18", 1, 4, seed=7).named_parameters())
    shared = [key for key in plain if key.startswith("encoder.")]
    assert len(shared) == len([key for key in parameters if key.startswith("encoder.")]) > 50
    assert all(torch.equal(plain[key], parameters[key]) for key in shared)


def test_a_head_whose_activations_are_silent_says_one_in_a_hundred() -> None:
    silent = build_network("unet_resnet18_heads", 1, 4, seed=7).eval()
    for head in silent.heads:
        nn.init.zeros_(head.logits.weight)
    with torch.no_grad():
        logits = silent(torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(logits[:, 1:].sigmoid(), torch.full((1, 3, 64, 64), 0.01))
    assert not logits[:, 0].any()


def test_four_heads_are_smaller_than_the_decoder_that_they_replace() -> None:
    """So that a study may compare the two without a larger network on one side."""
    sizes = [
        sum(p.numel() for p in build_network(name, 1, 5, seed=0).parameters())
        for name in ("unet_resnet18", "unet_resnet18_heads")
    ]
    assert sizes[1] < sizes[0]
