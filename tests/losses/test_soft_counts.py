"""Soft counts against pixels counted by hand."""

from __future__ import annotations

import re

import pytest
import torch
from jaxtyping import TypeCheckError

from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.soft_counts import probabilities_of, soft_counts

# One image of four pixels with references 0, 1, 1, 2; each column is a pixel's softmax.
PROBABILITIES = torch.tensor([[[0.7, 0.1, 0.5, 0.2], [0.2, 0.6, 0.4, 0.0], [0.1, 0.3, 0.1, 0.8]]], dtype=torch.float64)
TARGET = torch.tensor([[0, 1, 1, 2]])


def close(values: torch.Tensor, by_hand: list[list[float]]) -> bool:
    return torch.allclose(values, torch.tensor(by_hand, dtype=values.dtype), rtol=1e-12, atol=1e-12)


def test_four_pixels_three_classes_are_counted_as_by_hand():
    counts = soft_counts(PROBABILITIES, TARGET)
    assert close(counts.tp, [[0.7, 0.6 + 0.4, 0.8]])
    assert close(counts.fp, [[0.1 + 0.5 + 0.2, 0.2 + 0.0, 0.1 + 0.3 + 0.1]])
    assert close(counts.fn, [[0.3, 0.4 + 0.6, 0.2]])
    assert close(counts.tn, [[0.9 + 0.5 + 0.8, 0.8 + 1.0, 0.9 + 0.7 + 0.9]])


def test_a_spilled_pixel_is_a_false_positive_and_a_missed_one_a_false_negative():
    sure = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])  # the network says 0, 1, 1
    spilled = soft_counts(sure, torch.tensor([[0, 0, 1]]))
    assert (spilled.fp[0, 1], spilled.fn[0, 1]) == (1, 0)
    missed = soft_counts(sure, torch.tensor([[1, 1, 1]]))
    assert (missed.fp[0, 1], missed.fn[0, 1]) == (0, 1)


def test_samples_are_counted_apart_and_pooled_by_over_cases():
    probabilities = torch.cat([PROBABILITIES, PROBABILITIES.flip(2)])
    counts = soft_counts(probabilities, torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]]))
    assert close(counts.tp, [[0.7, 1.0, 0.8], [1.5, 0.0, 0.0]])
    assert close(counts.over_cases().tp[None], [[2.2, 1.0, 0.8]])


def test_the_gradient_of_tp_is_one_on_the_class_and_minus_one_in_fn():
    probabilities = PROBABILITIES.clone().requires_grad_()
    counts = soft_counts(probabilities, TARGET)
    on_class = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]], dtype=torch.float64)
    for count, expected in ((counts.tp, on_class), (counts.fn, -on_class), (counts.fp, 1 - on_class)):
        (gradient,) = torch.autograd.grad(count.sum(), probabilities, retain_graph=True)
        assert torch.equal(gradient, expected)


def test_seventeen_million_pixels_of_one_probability_are_summed_without_loss():
    """float32 that adds 0.3 one by one is 4 % off at 20 million, and stops counting whole pixels at 16.8 million."""
    side = 4160  # 4160² = 17.3 million
    probabilities = torch.tensor([0.3, 0.7])[None, :, None].expand(1, 2, side * side)
    counts = soft_counts(probabilities, torch.zeros(1, 1, dtype=torch.uint8).expand(1, side * side))
    assert float(counts.tp[0, 0]) == pytest.approx(0.3 * side**2, rel=1e-6)
    assert float(counts.reference_size[0, 0]) == pytest.approx(side**2, rel=1e-6)
    assert abs(float(counts.fp[0, 0])) < 1e-5 * 0.3 * side**2  # a difference of two sums
    assert float(counts.fp[0, 1]) == pytest.approx(0.7 * side**2, rel=1e-6)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_probabilities_are_float32_whatever_the_network_computes_in(kind: torch.dtype):
    logits = torch.tensor([[[1.5], [-0.5], [0.25]]], dtype=kind)
    assert torch.equal(probabilities_of(logits), probabilities_of(logits.float()))
    assert probabilities_of(logits).dtype == torch.float32
    assert probabilities_of(logits.double()).dtype == torch.float64


def test_a_target_of_another_shape_breaks_the_signature():
    """The type check that guards all tests really bites, through postponed annotations too."""
    with pytest.raises(TypeCheckError, match="target"):
        soft_counts(PROBABILITIES, TARGET[:, :3])
    with pytest.raises(TypeCheckError, match="target"):
        soft_counts(PROBABILITIES, TARGET.double())


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        (torch.zeros(2, 1, 4, 5, dtype=torch.long), "target[:, 0]"),  # as nnU-Net and MONAI hand it over
        (torch.zeros(2, 3, 4, 5, dtype=torch.long), "target.argmax(1)"),
        (torch.zeros(2, 4, 5), "target.long()"),
        (torch.full((2, 4, 5), 3), "from 0 to 2; came 3 to 3"),
        (torch.full((2, 4, 5), -100), "from 0 to 2; came -100 to -100"),
    ],
    ids=["channel of one", "one-hot", "float", "index too large", "negative index"],
)
@pytest.mark.usefixtures("unchecked_types")
def test_a_target_that_does_not_fit_is_refused_with_the_remedy_in_one_line(target: torch.Tensor, remedy: str):
    with pytest.raises(ValueError, match=re.escape(remedy)) as caught:
        CrossEntropyLoss()(torch.zeros(2, 3, 4, 5), target)
    assert "\n" not in str(caught.value)
