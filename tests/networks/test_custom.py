"""Networks from elsewhere: MONAI's, segmentation-models-pytorch's, and some that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import torchvision_stub
from steelyard.errors import BadSpec
from steelyard.networks.custom import build_custom

torchvision_stub.install()


def test_monais_unet_takes_our_numbers_beside_its_own_option_named_channels():
    options = {"spatial_dims": 2, "channels": (4, 8, 16), "strides": (2, 2)}
    network = build_custom("monai.networks.nets:UNet", 3, 2, **options)
    assert network(torch.zeros(1, 3, 32, 48)).shape == (1, 2, 32, 48)


def test_segmentation_models_deeplabv3plus_takes_our_numbers():
    name = "segmentation_models_pytorch:DeepLabV3Plus"
    network = build_custom(name, 2, 5, encoder_name="resnet18", encoder_weights=None)
    assert network.training
    assert network.eval()(torch.zeros(1, 2, 64, 96)).shape == (1, 5, 64, 96)


class Pixelwise(nn.Module):
    def __init__(self, n_channels: int, n_classes: int, *, out_channels: int = 1, wrong: str = "") -> None:
        super().__init__()
        assert out_channels == 1, "twelve\nlines"
        self.layer = nn.Conv2d(n_channels, n_classes + (wrong == "classes"), 1)
        self.normalise = nn.BatchNorm2d(n_channels)
        self.wrong = wrong

    def forward(self, images: Tensor) -> object:
        logits = self.layer(self.normalise(images))
        if self.wrong == "training" and self.training:
            return [logits]
        return {"dict": {"out": logits}, "size": logits[..., 1:], "transposed": logits.mT}.get(self.wrong, logits)


def wants_nothing() -> nn.Module:
    return nn.Identity()


def takes_anything(**options: object) -> nn.Module:
    return nn.Identity()


def gives_text(channels: int, classes: int) -> str:
    return "a network"


HERE = __name__


def test_the_more_specific_of_two_names_is_used_and_the_trial_leaves_no_trace():
    network = build_custom(f"{HERE}:Pixelwise", 3, 4)
    assert network.layer.weight.shape[:2] == (4, 3)
    assert network.training
    assert network.normalise.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("nowhere.at.all:Net", {}, "nowhere.at.all cannot be imported"),
        (f"{HERE}:", {}, "'module:callable' was wanted"),
        (f"{HERE}:Missing", {}, "has no 'Missing'"),
        (f"{HERE}:HERE", {}, "cannot be called"),
        (f"{HERE}:wants_nothing", {}, "it names none.*channels of the image cannot be passed"),
        (f"{HERE}:takes_anything", {}, "a function of your own with parameters `channels` and `classes`"),
        (f"{HERE}:gives_text", {}, "gave a str"),
        (f"{HERE}:Pixelwise", {"n_classes": 9}, "n_classes is the number of classes, 4.*Leave n_classes = 9 out"),
        (f"{HERE}:Pixelwise", {"depth": 9}, "could not be built: .*'depth'.*given: depth, n_channels, n_classes"),
        (f"{HERE}:Pixelwise", {"out_channels": 9}, "could not be built: twelve. Correct"),
        (f"{HERE}:Pixelwise", {"wrong": "classes"}, r"gives \(2, 5, 24, 40\) in training.*\(2, 4, 24, 40\)"),
        (f"{HERE}:Pixelwise", {"wrong": "size"}, r"gives \(2, 4, 24, 39\)"),
        (f"{HERE}:Pixelwise", {"wrong": "transposed"}, r"gives \(2, 4, 40, 24\)"),
        (f"{HERE}:Pixelwise", {"wrong": "dict"}, "gives dict in training"),
        (f"{HERE}:Pixelwise", {"wrong": "training"}, "gives list in training"),
        ("monai.networks.nets:UNet", {"spatial_dims": 3, "channels": (4, 8), "strides": (2,)}, "24×40 px"),
        (
            "monai.networks.nets:UNet",
            {"spatial_dims": 2, "channels": (4, 8, 8, 8, 8), "strides": (2,) * 4},
            "fails in training on 2 images of 3 channels, 24×40 px",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(name: str, options: dict[str, object], said: str):
    with pytest.raises(BadSpec, match=said) as caught:
        build_custom(name, 3, 4, size_px=(24, 40), **options)
    assert "\n" not in str(caught.value)
