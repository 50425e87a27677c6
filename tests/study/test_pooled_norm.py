"""Batch normalisation over several processes, in one: it must be torch's own. Two processes are in test_parallel.py."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from steelyard.study.pooled_norm import PooledBatchNorm, with_pooled_norms

CPU = torch.device("cpu")


def some_norm(**options) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3, **options).double()
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.2, 0.8, 3.0]))
            norm.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
    return norm


def values(seed: int = 1) -> Tensor:
    numbers = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2 * numbers + torch.tensor([10.0, -3.0, 0.1])[:, None, None]


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.3, "eps": 0.2}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}],
)
def test_one_process_normalises_as_torch_does_in_training_and_after(options: dict) -> None:
    theirs = some_norm(**options)
    ours = with_pooled_norms(theirs, CPU)
    assert isinstance(ours, PooledBatchNorm)
    for seed in (1, 2):
        inputs = [values(seed).requires_grad_() for _ in range(2)]
        outputs = [norm(x) for norm, x in zip((theirs, ours), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0])
        for output in outputs:
            (output * output.detach().cos()).sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, expected), (same_name, found) in zip(
        theirs.state_dict().items(), ours.state_dict().items(), strict=True
    ):
        assert name == same_name
        torch.testing.assert_close(found, expected)
    for expected, found in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    torch.testing.assert_close(ours.eval()(values(3)), theirs.eval()(values(3)))


def test_every_norm_of_a_copy_is_replaced_and_the_network_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), nn.BatchNorm2d(3))
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    pooled = with_pooled_norms(network, CPU)
    assert [type(module) for module in (network[1][0], network[2])] == [nn.BatchNorm2d] * 2
    assert [type(module) for module in (pooled[1][0], pooled[2])] == [PooledBatchNorm] * 2
    assert (pooled[1][0].training, pooled[2].training) == (False, True)
    pooled.train()(torch.randn(2, 1, 4, 4)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert list(pooled.state_dict()) == list(before)


def test_half_precision_goes_in_and_comes_out_and_is_summed_in_float32() -> None:
    """Half of a bfloat16 sum over a slice would be rounding."""
    norm = with_pooled_norms(nn.BatchNorm2d(1), CPU)
    found = norm(torch.full((2, 1, 64, 64), 3.0, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert float(norm.running_mean) == pytest.approx(0.3, rel=1e-6)  # a tenth of the way from 0 to 3


def test_volumes_and_rows_are_normalised_like_slices() -> None:
    flat = values().flatten(2)
    for theirs, shaped in ((nn.BatchNorm1d(3), flat), (nn.BatchNorm3d(3), flat.reshape(4, 3, 5, 3, 2))):
        torch.testing.assert_close(with_pooled_norms(theirs.double(), CPU)(shaped), theirs(shaped))
