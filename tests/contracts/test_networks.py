"""What every registered network promises, whatever it is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steelyard.errors import BadSpec
from steelyard.networks import NETWORKS, winograd
from steelyard.networks.build import build_network

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
NAMES = sorted(NETWORKS)
CHANNELS, CLASSES, SEED = 3, 2, 4


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(name: str) -> nn.Module:
    """One network for all tests that leave its weights alone; FCN-8s alone weighs half a gigabyte."""
    return build_network(name, CHANNELS, CLASSES, seed=SEED)


def pictures(count: int, *size: int) -> torch.Tensor:
    return torch.randn(count, CHANNELS, *size, generator=torch.Generator().manual_seed(9))


def test_the_expected_networks_are_registered():
    assert {
        "unet_vgg16",
        "unet_matlab",
        "unet_resnet18",
        "unet_resnet18_heads",
        "fcn8s_vgg16",
        "deeplabv3_resnet18",
        "deeplabv3plus_resnet18",
    } <= set(NAMES)


@pytest.mark.parametrize("size", [(67, 45), (64, 32), (5, 70), (1, 1)])
def test_logits_have_one_map_per_class_at_the_size_of_the_image(network: nn.Module, size: tuple[int, int]):
    with torch.no_grad():
        logits = network.eval()(pictures(2, *size))
    assert logits.shape == (2, CLASSES, *size)
    assert logits.isfinite().all()


def test_one_channel_and_five_classes_need_another_first_and_last_layer_alone(name: str, network: nn.Module):
    """Or, where each organ has a head, three heads more like the one that there is."""
    other = build_network(name, 1, 5, seed=SEED)
    with torch.no_grad():
        assert other.eval()(torch.zeros(1, 1, 67, 45)).shape == (1, 5, 67, 45)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    of_head = {key.removeprefix("heads.0."): shape for key, shape in shapes.items() if key.startswith("heads.")}
    if of_head:
        shapes |= {f"heads.{head}.{key}": shape for head in (1, 2, 3) for key, shape in of_head.items()}
    changed = {key for key, value in other.state_dict().items() if value.shape != shapes.pop(key)}
    assert not shapes
    assert len([key for key in changed if key.startswith(("encoder.", "down."))]) == 1


def test_the_gradient_reaches_every_parameter_from_one_small_image(network: nn.Module):
    """A batch of one, smaller than the coarsest cell, in training: normalisation over a single pixel would fail."""
    network.train().zero_grad(set_to_none=True)
    torch.manual_seed(0)  # dropout
    logits = network(pictures(1, 20, 30))
    F.cross_entropy(logits, torch.arange(600).reshape(1, 20, 30) % 2).backward()
    dead = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    network.zero_grad(set_to_none=True)
    assert dead == []


def test_the_seed_alone_decides_the_starting_weights_and_torch_is_left_as_it_was(name: str, network: nn.Module):
    torch.manual_seed(77)
    before = torch.get_rng_state()
    again = build_network(name, CHANNELS, CLASSES, seed=SEED)
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in network.named_parameters():
        assert torch.equal(again.get_parameter(key), value), key

    other = build_network(name, CHANNELS, CLASSES, seed=SEED + 1)
    kernels = {key for key, value in network.named_parameters() if value.ndim == 4 and "enlarge_pool" not in key}
    assert kernels
    for key in kernels:
        assert not torch.equal(other.get_parameter(key), network.get_parameter(key)), key


def test_in_evaluation_an_image_is_judged_alone_and_always_the_same(network: nn.Module):
    images = pictures(2, 40, 50)
    network.eval()
    with torch.no_grad():
        together = network(images)
        assert torch.equal(network(images), together)
        torch.testing.assert_close(network(images[1:]), together[1:], rtol=1e-4, atol=1e-4)


def test_channels_last_and_bfloat16_give_the_same_logits_within_their_precision(network: nn.Module):
    images = pictures(1, 64, 64)
    network.eval()
    with torch.no_grad():
        exact = network(images)
        torch.testing.assert_close(
            network(images.contiguous(memory_format=torch.channels_last)), exact, rtol=1e-4, atol=1e-4
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(images)
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).norm() / exact.norm()
    assert error < 0.05  # bfloat16 keeps 8 bits: 0.4 % per operation, some twenty operations in a row


@needs_gpu
def test_on_a_gpu_logits_and_gradients_are_the_processors(name: str):
    images, target = pictures(2, 64, 96), torch.arange(2 * 64 * 96).reshape(2, 64, 96) // 7 % CLASSES
    found = {}
    for device in ("cpu", "cuda"):
        network = build_network(name, CHANNELS, CLASSES, seed=SEED).to(device, memory_format=torch.channels_last)
        for module in network.modules():
            module.train(not isinstance(module, nn.Dropout | nn.Dropout2d))  # devices draw differently
        with torch.backends.cudnn.flags(allow_tf32=False):
            logits = network(images.to(device))
            F.cross_entropy(logits, target.to(device)).backward()
        gradients = {key: value.grad.cpu() for key, value in network.named_parameters()}
        found[device] = logits.detach().cpu(), gradients
    (logits, gradients), (expected, by_processor) = found["cuda"], found["cpu"]
    assert (logits - expected).norm() < 1e-3 * expected.norm()
    largest = max(float(value.norm()) for value in by_processor.values())
    for key, value in by_processor.items():  # a bias before a normalisation has rounding errors alone
        assert (gradients[key] - value).norm() < 1e-2 * value.norm() + 1e-4 * largest, key


def test_a_prediction_is_what_torchs_own_convolutions_give(network: nn.Module, monkeypatch: pytest.MonkeyPatch):
    """On a processor with AVX2 most convolutions of a prediction are multiplied otherwise than the sum's definition."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    images = pictures(4, 128, 96).contiguous(memory_format=torch.channels_last)
    network.eval()
    with torch.no_grad():
        ours = network(images)
        monkeypatch.setattr(winograd, "takes", lambda *given: False)
        theirs = network(images)
    assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


def test_a_few_steps_at_the_studys_learning_rate_beat_knowing_the_class_frequencies(name: str):
    """Two images of halves: 3/8 class 1, 1/4 class 2. The frequencies alone leave an entropy of 1.04 nats."""
    target = torch.zeros(2, 64, 64, dtype=torch.long)
    target[0, :, :32], target[0, :, 32:], target[1, 32:] = 1, 2, 1
    frequencies = torch.bincount(target.ravel()) / target.numel()
    entropy = -(frequencies * frequencies.log()).sum().item()
    assert math.isclose(entropy, 1.04, abs_tol=0.05)

    noise = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    images = torch.tensor([-1.0, 0.5, 2.0])[target][:, None] + 0.2 * noise
    network = build_network(name, 1, 3, seed=0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9)
    torch.manual_seed(0)  # dropout
    loss = torch.tensor(math.inf)
    for _ in range(60):
        loss = F.cross_entropy(network(images), target)
        if loss < entropy / 2:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < entropy / 2


def test_weights_that_do_not_exist_end_in_one_line(name: str):
    with pytest.raises(BadSpec, match="no-such-file") as caught:
        build_network(name, 1, 2, seed=0, weights="no-such-file.pth")
    assert "\n" not in str(caught.value)
