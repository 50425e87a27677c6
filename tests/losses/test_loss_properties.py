"""What holds for the IoU family whatever the logits, the prices and the target."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steelyard.losses import IoULoss
from worked_losses import random_case

PRICE = st.floats(0.01, 3.0)
PRICES = st.lists(PRICE, min_size=3, max_size=3)
SEEDS = st.integers(0, 2**31)
QUICK = settings(max_examples=25, deadline=None)


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.isclose(one, other, rtol=1e-9, atol=1e-12))


@QUICK
@given(SEEDS, PRICE, PRICE, st.sampled_from(["batch", "slice"]), st.sampled_from(["formula", "skip"]), st.booleans())
def test_the_loss_lies_between_zero_and_one(seed, fp_weight, fn_weight, scope, absent, background):
    logits, target = random_case(seed=seed)
    loss = IoULoss(fp_weight=fp_weight, fn_weight=fn_weight, scope=scope, absent=absent, background=background)
    assert 0 <= float(loss(logits, target)) <= 1


@QUICK
@given(SEEDS, PRICES, PRICES, st.randoms(use_true_random=False))
def test_the_order_of_pixels_and_of_samples_does_not_matter(seed, fp_weight, fn_weight, random):
    logits, target = random_case(seed=seed)
    loss = IoULoss(fp_weight=fp_weight, fn_weight=fn_weight)
    flat, flat_target = logits.flatten(2), target.flatten(1)
    pixels = random.sample(range(flat.shape[2]), flat.shape[2])
    samples = random.sample(range(len(flat)), len(flat))
    assert close(loss(flat[samples][:, :, pixels], flat_target[samples][:, pixels]), loss(logits, target))


@QUICK
@given(SEEDS, PRICES, PRICES, PRICES, st.permutations([0, 1, 2]), st.sampled_from(["batch", "slice"]))
def test_renaming_the_classes_with_their_weights_does_not_matter(
    seed, fp_weight, fn_weight, class_weights, order, scope
):
    logits, target = random_case(seed=seed)
    renamed = torch.tensor(order).argsort()[target]  # the class now at place i was order[i]
    plain = IoULoss(fp_weight=fp_weight, fn_weight=fn_weight, class_weights=class_weights, scope=scope)
    moved = IoULoss(
        fp_weight=[fp_weight[i] for i in order],
        fn_weight=[fn_weight[i] for i in order],
        class_weights=[class_weights[i] for i in order],
        scope=scope,
    )
    assert close(moved(logits[:, order], renamed), plain(logits, target))


@QUICK
@given(SEEDS, PRICE, PRICE, st.sampled_from(["formula", "skip", "penalise"]))
def test_a_constant_added_to_all_logits_of_a_pixel_does_not_matter(seed, fp_weight, fn_weight, absent):
    logits, target = random_case(seed=seed)
    offset = 50 * torch.randn(3, 1, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    loss = IoULoss(fp_weight=fp_weight, fn_weight=fn_weight, absent=absent)
    assert close(loss(logits + offset, target), loss(logits, target))


@QUICK
@given(SEEDS, PRICE, PRICE, st.floats(0.1, 2.0), st.sampled_from(["batch", "slice"]))
def test_a_higher_price_never_lowers_the_loss(seed, fp_weight, fn_weight, more, scope):
    logits, target = random_case(seed=seed)
    plain = IoULoss(fp_weight=fp_weight, fn_weight=fn_weight, scope=scope)(logits, target)
    assert IoULoss(fp_weight=fp_weight + more, fn_weight=fn_weight, scope=scope)(logits, target) > plain
    assert IoULoss(fp_weight=fp_weight, fn_weight=fn_weight + more, scope=scope)(logits, target) > plain


@QUICK
@given(SEEDS, st.floats(0.1, 1.9))
def test_one_sample_is_its_own_batch(seed, fp_weight):
    logits, target = random_case(seed=seed, batch=1)
    prices = {"fp_weight": fp_weight, "fn_weight": 2 - fp_weight}
    assert float(IoULoss(**prices)(logits, target)) == pytest.approx(
        float(IoULoss(**prices, scope="slice")(logits, target)), rel=1e-12
    )
