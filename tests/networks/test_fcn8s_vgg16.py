"""FCN-8s: how scores are enlarged and added, and how VGG-16's classifier becomes convolutions."""

from __future__ import annotations

import pytest
import torch

import torchvision_stub
from steelyard.errors import BadData
from steelyard.networks.fcn8s_vgg16 import FCN8sVGG16, fully_connected, load_classifier

torchvision_stub.install()
from torchvision.models import vgg16 as torchvision_vgg16  # noqa: E402

NARROW = 32


def test_learned_enlargement_starts_as_the_bilinear_one_and_has_weights_to_learn():
    fixed = FCN8sVGG16(1, 3, fc_channels=NARROW).eval()
    learned = FCN8sVGG16(1, 3, fc_channels=NARROW, learned_upsampling=True).eval()
    missing = learned.load_state_dict(fixed.state_dict(), strict=False).missing_keys
    assert missing == ["enlarge_fc.weight", "enlarge_pool4.weight", "enlarge_pool3.weight"]
    extra = sum(value.numel() for value in learned.parameters()) - sum(value.numel() for value in fixed.parameters())
    assert extra == 3 * 3 * (4 * 4 + 4 * 4 + 16 * 16)

    scores = torch.randn(1, 3, 6, 7)
    for factor, name in ((2, "enlarge_fc"), (2, "enlarge_pool4"), (8, "enlarge_pool3")):
        tent, line = learned.get_submodule(name)(scores), fixed.get_submodule(name)(scores)
        assert tent.shape == line.shape == (1, 3, 6 * factor, 7 * factor)
        inner = (
            ...,
            slice(factor, -factor),
            slice(factor, -factor),
        )  # the rim has one neighbour only
        torch.testing.assert_close(tent[inner], line[inner], rtol=1e-5, atol=1e-6)


def test_the_three_scores_are_added_at_their_own_scale():
    """With only one of the three scores alive, its bias of 1 arrives everywhere and its grid shows in the gradient."""
    network = FCN8sVGG16(1, 2, fc_channels=NARROW).eval()
    image = torch.randn(1, 1, 64, 96)
    scales: dict[str, tuple[int, ...]] = {}
    for name in ("score_fc", "score_pool4", "score_pool3"):
        layer = network.get_submodule(name)
        layer.register_forward_hook(
            lambda module, inputs, output, name=name: scales.update({name: tuple(output.shape[2:])})
        )
        for other in (network.score_fc, network.score_pool4, network.score_pool3):
            torch.nn.init.zeros_(other.weight)
            torch.nn.init.zeros_(other.bias)
        with torch.no_grad():
            layer.bias[1] = 1.0
            logits = network(image)
        assert torch.equal(logits[:, 0], torch.zeros(1, 64, 96))
        torch.testing.assert_close(logits[:, 1], torch.ones(1, 64, 96))
    assert scales == {"score_fc": (2, 3), "score_pool4": (4, 6), "score_pool3": (8, 12)}


@pytest.mark.parametrize(("cells", "seen"), [((2, 3), (7, 7)), ((2, 10), (7, 10)), ((8, 2), (8, 7)), ((9, 8), (9, 8))])
def test_in_training_maps_smaller_than_the_kernel_are_enlarged_and_give_what_the_layers_alone_give(
    cells: tuple[int, int], seen: tuple[int, int]
):
    network = FCN8sVGG16(1, 2, fc_channels=NARROW)
    for layer in network.fc:
        layer.eval()  # no dropout
    maps = torch.randn(2, 512, *cells, requires_grad=True)
    weight = network.fc[0].weight
    sizes: list[tuple[int, ...]] = []
    network.fc[0].register_forward_hook(lambda module, inputs, output: sizes.append(tuple(inputs[0].shape[2:])))
    found = []
    for answer in (network.fc(maps), network._fully_connected(maps)):
        assert answer.shape == (2, NARROW, *maps.shape[2:])
        found.append((answer, *torch.autograd.grad((answer * answer).sum(), (maps, weight))))
    for alone, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-4)
    network.eval()._fully_connected(maps)
    assert sizes == [cells, seen, cells]


def test_vgg16s_classifier_gives_the_same_numbers_as_convolutions():
    """Where the 7×7 kernel meets exactly a 7×7 map, at its middle, it is the fully connected layer."""
    torch.manual_seed(0)
    classifier = torchvision_vgg16(init_weights=False).classifier.eval()
    layers = fully_connected(4096).eval()
    load_classifier(layers, {f"classifier.{key}": value for key, value in classifier.state_dict().items()}, source="x")
    pool5 = torch.randn(2, 512, 7, 7)
    with torch.no_grad():
        torch.testing.assert_close(layers(pool5)[:, :, 3, 3], classifier[:5](pool5.flatten(1)), rtol=1e-4, atol=1e-5)


def test_a_file_of_features_alone_cannot_start_the_fully_connected_layers():
    with torch.device("meta"):
        layers = fully_connected(4096)
    with pytest.raises(BadData, match=r"features\.pth: classifier\.0\.weight was .* 102760448 numbers, nothing"):
        load_classifier(layers, {}, source="features.pth")
    with pytest.raises(BadData, match=r"shape \(10, 10\) came"):
        load_classifier(layers, {"classifier.0.weight": torch.zeros(10, 10)}, source="features.pth")


@pytest.mark.parametrize(("width", "published"), [(4096, 134_260_544)])
def test_parameters_are_vgg16s_less_its_last_layer_plus_the_scores(width: int, published: int):
    """torchvision's VGG-16 has 138,357,544 parameters, of which the last layer (1000 classes) 4,097,000."""
    assert published == 138_357_544 - 4_097_000
    with torch.device("meta"):
        network = FCN8sVGG16(3, 5, fc_channels=width)
    scores = 5 * (width + 1) + 5 * (512 + 1) + 5 * (256 + 1)
    assert sum(value.numel() for value in network.parameters()) == published + scores
