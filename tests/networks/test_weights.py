"""Starting an encoder from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import torchvision_stub
from steelyard.errors import BadData, BadSpec
from steelyard.networks import NETWORKS
from steelyard.networks.resnet18 import ResNet18
from steelyard.networks.weights import adapt_channels, load_encoder, read_weights

torchvision_stub.install()
from torchvision.models import resnet18 as torchvision_resnet18  # noqa: E402


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """A whole torchvision model, its classifier included, with random weights."""
    torch.manual_seed(3)
    return torchvision_resnet18().state_dict()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_grey_image_gets_the_same_response_however_many_channels_repeat_it(channels: int):
    rgb = torch.randn(4, 3, 7, 7, dtype=torch.float64)
    grey = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    adapted = adapt_channels(rgb, channels)
    assert adapted.shape == (4, channels, 7, 7)
    torch.testing.assert_close(
        F.conv2d(grey.expand(-1, channels, -1, -1), adapted), F.conv2d(grey.expand(-1, 3, -1, -1), rgb)
    )


def test_two_channels_share_the_sum_of_red_green_and_blue():
    kernel = torch.tensor([1.0, 2.0, 7.0]).reshape(1, 3, 1, 1)
    assert adapt_channels(kernel, 2).flatten().tolist() == [5.0, 5.0]
    assert adapt_channels(kernel, 3).flatten().tolist() == [1.0, 2.0, 7.0]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_grey_network_starts_where_torchvisions_model_is(tmp_path: Path, imagenet: dict[str, Tensor], suffix: str):
    file = tmp_path / f"resnet{suffix}"
    torch.save(imagenet, file) if suffix == ".pth" else save_file(imagenet, file)
    network = NETWORKS["unet_resnet18"](1, 4, weights=str(file)).eval()
    peer = torchvision_resnet18().eval()
    peer.load_state_dict(imagenet)
    grey = torch.randn(1, 1, 64, 64)
    seen = []
    peer.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        peer(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.encoder(grey)[-1], seen[0], rtol=1e-4, atol=1e-5)


def test_a_file_without_counters_of_batch_normalisation_loads(imagenet: dict[str, Tensor]):
    old = {key: value for key, value in imagenet.items() if not key.endswith("num_batches_tracked")}
    encoder = ResNet18(3)
    load_encoder(encoder, old, source="old.pth")
    assert torch.equal(encoder.layer4[1].conv2.weight, imagenet["layer4.1.conv2.weight"])
    assert torch.equal(encoder.bn1.running_mean, imagenet["bn1.running_mean"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda state: state.pop("layer3.0.bn2.bias"), "lacks layer3.0.bn2.bias"),
        (lambda state: state.pop("conv1.weight"), "lacks conv1.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "holds extra, which the encoder has not"),
        (lambda state: state.update({"bn1.bias": torch.zeros(65)}), r"holds bn1.bias of shape \(65,\), not \(64,\)"),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 4, 7, 7)}),
            r"\(64, 4, 7, 7\), not \(64, 2, 7, 7\)",
        ),
    ],
)
def test_any_other_difference_between_file_and_encoder_is_one_line(imagenet: dict[str, Tensor], damage, said: str):
    state = dict(imagenet)
    damage(state)
    encoder = ResNet18(2)
    before = encoder.bn1.weight.clone()
    with pytest.raises(BadData, match=said) as caught:
        load_encoder(encoder, state, source="mine.pth")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine.pth ")
    assert torch.equal(encoder.bn1.weight, before)


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


def test_files_that_are_no_weights_are_one_line_and_no_code_in_them_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imagenet: dict[str, Tensor]
):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": _Bomb()}, tmp_path / "bomb.pth")
    torch.save({"epoch": 3, "state": imagenet}, tmp_path / "checkpoint.pth")
    torch.save(imagenet, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "broken.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for file in ("bomb.pth", "checkpoint.pth", "broken.pth", "empty.pth", "text.pth", "broken.safetensors"):
        with pytest.raises(BadData, match=file) as caught:
            read_weights(file, imagenet_url="unused")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_is_a_wrong_spec(tmp_path: Path):
    with pytest.raises(BadSpec, match="no such file"):
        read_weights(str(tmp_path / "nowhere.pth"), imagenet_url="unused")
