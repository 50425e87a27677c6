"""The derivative that is written out is the formula's, under every option; numbers by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from steelyard.losses.tversky_terms import EPSILON, Pricing, _by_formula, mean_of_terms

PRICES = [(0.5, 1.5), ((0.2, 0.9, 1.4), 0.3), (0.7, (1.8, 1.1, 0.0)), ((0.2, 0.9, 1.4), (1.8, 1.1, 0.3))]
OPTIONS = [
    Pricing(*prices, weights, background, absent)
    for prices, weights, background, absent in itertools.product(
        PRICES, [1.0, (0.2, 0.5, 3.0), (2.0, 0.0, 0.0)], [True, False], ["formula", "skip", "penalise"]
    )
]
BY_NETWORK = slice(2)  # TP and Σ p: no network moves reference pixels


def some_totals(*scope: int) -> Tensor:
    """TP, Σ p and reference pixels of three classes, (3, *scope, 3); one class is absent from the last scope."""
    generator = torch.Generator().manual_seed(4)
    reference = torch.randint(1, 9, (*scope, 3), generator=generator).double()
    reference.view(-1, 3)[-1, 1] = 0
    found = torch.rand(*scope, 3, generator=generator, dtype=torch.float64)
    invented = torch.rand(*scope, 3, generator=generator, dtype=torch.float64) + 0.1
    return torch.stack([found * reference, found * reference + invented, reference])


@pytest.mark.parametrize("scope", [(), (4,)], ids=["batch", "slices"])
@pytest.mark.parametrize("pricing", OPTIONS, ids=str)
def test_values_and_derivatives_are_those_that_autograd_finds_for_the_formula(pricing: Pricing, scope: tuple[int, ...]):
    ours, formulas = (some_totals(*scope).requires_grad_() for _ in range(2))
    values, expected = mean_of_terms(ours, pricing, kind=torch.float64), _by_formula(formulas, pricing)
    assert values.shape == scope
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    weights = torch.arange(1.0, 1 + values.numel(), dtype=torch.float64).view(scope)
    (weights * values).sum().backward()
    (weights * expected).sum().backward()
    assert ours.grad is not None
    if any(torch.as_tensor(pricing.class_weights).view(-1)[1:]) or pricing.background:
        assert ours.grad.any()
    assert formulas.grad is not None
    torch.testing.assert_close(ours.grad[BY_NETWORK], formulas.grad[BY_NETWORK], rtol=1e-9, atol=1e-12)


def test_one_price_by_hand():
    """TP 2, FP 1, FN 2 at (½, 1½): D = 2 + .5 + 3 = 5.5; the other class is not counted."""
    totals = torch.tensor([[2.0, 7.0], [3.0, 8.0], [4.0, 9.0]], dtype=torch.float64, requires_grad=True)
    value = mean_of_terms(totals, Pricing(0.5, 1.5, (1.0, 0.0), True, "formula"), kind=torch.float64)
    assert value.item() == pytest.approx(1 - 2 / 5.5)
    value.backward()
    index = 2 / 5.5
    by_hand = [-(1 + index) / 5.5, 0.5 * index / 5.5, 1.5 * index / 5.5]  # 1 − α − β = −1
    assert totals.grad is not None
    assert totals.grad[:, 0].tolist() == pytest.approx(by_hand)
    assert not totals.grad[:, 1].any()


def test_a_charge_for_an_absent_class_by_hand():
    """Of 10 pixels none is of class 1, which got 2 of probability: .7 · 2 / 10, one of two classes."""
    totals = torch.tensor([[9.0, 0.0], [9.0, 2.0], [10.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = mean_of_terms(totals, Pricing(0.7, 1.3, 1.0, True, "penalise"), kind=torch.float64)
    present = 1 - 9 / (9 + 1.3 + EPSILON)
    assert value.item() == pytest.approx((present + 0.7 * 2 / 10) / 2)
    value.backward()
    assert totals.grad is not None
    assert totals.grad[:2, 1].tolist() == pytest.approx([-0.7 / 10 / 2, 0.7 / 10 / 2])


@pytest.mark.parametrize("absent", ["formula", "skip", "penalise"])
def test_a_second_derivative_is_the_formulas(absent: str):
    pricing, found = Pricing((0.2, 0.9, 1.4), 0.6, (0.2, 0.5, 3.0), True, absent), []  # type: ignore[arg-type]
    for loss in (lambda totals: mean_of_terms(totals, pricing, kind=torch.float64), lambda t: _by_formula(t, pricing)):
        totals = some_totals(2).requires_grad_()
        (first,) = torch.autograd.grad((loss(totals) ** 2).sum(), totals, create_graph=True)
        found.append(torch.autograd.grad((first * totals.detach().sqrt()).sum(), totals)[0])
    assert found[0].any()
    torch.testing.assert_close(found[0][BY_NETWORK], found[1][BY_NETWORK], rtol=1e-9, atol=1e-12)


def test_the_value_is_of_the_kind_that_was_asked_for():
    pricing = Pricing(0.5, 1.5, 1.0, True, "formula")
    assert mean_of_terms(some_totals(2), pricing, kind=torch.float32).dtype == torch.float32
