"""The IoU family against arithmetic by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steelyard.losses import LOSSES, IoULoss
from steelyard.losses.soft_counts import soft_counts
from steelyard.losses.tversky_terms import EPSILON
from worked_losses import FN, FP, LOGITS, PROBABILITIES, TARGET, TP, random_case, tversky, value_and_gradient

PRICES = {"iou11": (1, 1), "iou1505": (1.5, 0.5), "iou0515": (0.5, 1.5), "dice": (0.5, 0.5)}


def by_hand(fp_weight: float, fn_weight: float) -> list[float]:
    """One term per class of the worked example."""
    return [tversky(*counts, fp_weight, fn_weight) for counts in zip(TP, FP, FN, strict=True)]


def approx(value: float):
    return pytest.approx(value, rel=1e-6)  # epsilon in the denominator


@pytest.mark.parametrize(("name", "prices"), PRICES.items())
def test_a_preset_is_one_minus_the_mean_index_of_all_classes(name: str, prices: tuple[float, float]):
    assert float(LOSSES[name]()(LOGITS, TARGET)) == approx(sum(by_hand(*prices)) / 3)


def test_iou0515_in_numbers():
    """TP 1.3, 1.4, 0.6; FP 0.9, 0.8, 1.0; FN 0.7, 1.6, 0.4: D = 1.3 + .45 + 1.05, 1.4 + .4 + 2.4, 0.6 + .5 + .6."""
    assert float(LOSSES["iou0515"]()(LOGITS, TARGET)) == approx(1 - (1.3 / 2.8 + 1.4 / 4.2 + 0.6 / 1.7) / 3)


def test_dice_bk_leaves_out_the_background_and_nothing_else():
    _, spleen_term, kidney_term = by_hand(0.5, 0.5)
    assert float(LOSSES["diceBK"]()(LOGITS, TARGET)) == approx((spleen_term + kidney_term) / 2)
    assert spleen_term != approx(kidney_term)  # else the last class could be dropped unseen


def test_each_class_has_its_own_prices():
    loss = IoULoss(fp_weight=[0.2, 0.9, 1.4], fn_weight=[1.8, 1.1, 0.3])
    by_class = [tversky(TP[0], FP[0], FN[0], 0.2, 1.8), tversky(TP[1], FP[1], FN[1], 0.9, 1.1)]
    by_class.append(tversky(TP[2], FP[2], FN[2], 1.4, 0.3))
    assert float(loss(LOGITS, TARGET)) == approx(sum(by_class) / 3)


def test_class_weights_weigh_the_terms_and_are_divided_by_their_sum():
    terms = by_hand(1.5, 0.5)
    weights = [0.2, 0.5, 3.0]
    loss = IoULoss(fp_weight=1.5, fn_weight=0.5, class_weights=weights)
    assert float(loss(LOGITS, TARGET)) == approx((0.2 * terms[0] + 0.5 * terms[1] + 3 * terms[2]) / 3.7)
    without = IoULoss(fp_weight=1.5, fn_weight=0.5, class_weights=weights, background=False)
    assert float(without(LOGITS, TARGET)) == approx((0.5 * terms[1] + 3 * terms[2]) / 3.5)


def test_scope_slice_is_the_mean_of_the_losses_of_single_samples():
    loss = IoULoss(fp_weight=0.5, fn_weight=1.5, scope="slice")
    alone = [float(loss(LOGITS[i : i + 1], TARGET[i : i + 1])) for i in (0, 1)]
    assert float(loss(LOGITS, TARGET)) == approx(sum(alone) / 2)
    assert alone[0] == approx(1 - (0.7 / (0.7 + 0.15 + 0.45) + 0.5 / (0.5 + 0.25 + 0.75) + 0.6 / (0.6 + 0.2 + 0.6)) / 3)
    assert alone[1] == approx(1 - (0.6 / (0.6 + 0.3 + 0.6) + 0.9 / (0.9 + 0.15 + 1.65) + 0) / 3)  # class 2 absent


def test_scope_batch_pools_the_counts_so_that_batch_size_matters():
    loss = IoULoss(fp_weight=0.5, fn_weight=1.5)
    alone = [float(loss(LOGITS[i : i + 1], TARGET[i : i + 1])) for i in (0, 1)]
    assert abs(float(loss(LOGITS, TARGET)) - sum(alone) / 2) > 0.04


# Prices


def spread(target_classes: list[int], said: list[int]) -> tuple[Tensor, Tensor]:
    """One row of pixels about whose classes the network is nearly sure."""
    logits = 8 * nn.functional.one_hot(torch.tensor(said), 2).double()
    return logits.T[None], torch.tensor([target_classes])


OVER_SEGMENTED = spread([0, 0, 0, 1, 1], [0, 1, 1, 1, 1])
UNDER_SEGMENTED = spread([0, 1, 1, 1, 1], [0, 0, 0, 1, 1])


def organ_only(**prices: float) -> IoULoss:
    return IoULoss(**prices, background=False)  # the background's FP are the organ's FN


def test_raising_fp_weight_punishes_over_segmentation_only():
    cheap, dear = organ_only(fp_weight=0.5, fn_weight=0.5), organ_only(fp_weight=1.5, fn_weight=0.5)
    assert float(dear(*OVER_SEGMENTED)) == pytest.approx(1 - 2 / (2 + 1.5 * 2), abs=2e-3)
    assert float(cheap(*OVER_SEGMENTED)) == pytest.approx(1 - 2 / (2 + 0.5 * 2), abs=2e-3)
    assert float(dear(*UNDER_SEGMENTED)) == pytest.approx(float(cheap(*UNDER_SEGMENTED)), abs=2e-3)


def test_raising_fn_weight_punishes_misses_only():
    cheap, dear = organ_only(fp_weight=0.5, fn_weight=0.5), organ_only(fp_weight=0.5, fn_weight=1.5)
    assert float(dear(*UNDER_SEGMENTED)) == pytest.approx(1 - 2 / (2 + 1.5 * 2), abs=2e-3)
    assert float(cheap(*UNDER_SEGMENTED)) == pytest.approx(1 - 2 / (2 + 0.5 * 2), abs=2e-3)
    assert float(dear(*OVER_SEGMENTED)) == pytest.approx(float(cheap(*OVER_SEGMENTED)), abs=2e-3)


def test_with_prices_that_sum_to_two_the_dearer_error_is_the_one_with_the_larger_loss():
    for_misses, for_spills = organ_only(fp_weight=0.5, fn_weight=1.5), organ_only(fp_weight=1.5, fn_weight=0.5)
    assert for_misses(*UNDER_SEGMENTED) > for_misses(*OVER_SEGMENTED) + 0.2
    assert for_spills(*OVER_SEGMENTED) > for_spills(*UNDER_SEGMENTED) + 0.2


# Classes without a reference pixel


ABSENT_LOGITS = torch.tensor([[[0.5, 0.2, 0.6], [0.3, 0.7, 0.1], [0.2, 0.1, 0.3]]], dtype=torch.float64).log()
ABSENT_TARGET = torch.tensor([[0, 1, 0]])  # nothing of class 2, whose probabilities sum to 0.6
PRESENT = [tversky(1.1, 0.2, 0.9, 0.4, 1.6), tversky(0.7, 0.4, 0.3, 0.4, 1.6)]


def absent_loss(absent: str, fp_weight: float = 0.4, **options: object) -> IoULoss:
    return IoULoss(fp_weight=fp_weight, fn_weight=1.6, absent=absent, **options)


def test_formula_counts_an_absent_class_as_one_and_keeps_it_in_the_divisor():
    assert float(absent_loss("formula")(ABSENT_LOGITS, ABSENT_TARGET)) == approx((sum(PRESENT) + 1) / 3)


def test_skip_leaves_an_absent_class_out_of_sum_and_divisor():
    assert float(absent_loss("skip")(ABSENT_LOGITS, ABSENT_TARGET)) == approx(sum(PRESENT) / 2)


def test_penalise_charges_fp_weight_times_the_mean_probability_of_the_absent_class():
    assert float(absent_loss("penalise")(ABSENT_LOGITS, ABSENT_TARGET)) == approx((sum(PRESENT) + 0.4 * 0.6 / 3) / 3)


def pooled_totals(probabilities: Tensor, target: Tensor, *, pooled: bool) -> Tensor:
    counts = soft_counts(probabilities, target).over_cases()
    return torch.stack([counts.tp, counts.prediction_size, counts.reference_size])


def probability_gradient(loss: IoULoss, logits: Tensor, target: Tensor) -> Tensor:
    """∂loss/∂p, by handing the loss probabilities as if a softmax had just made them."""
    probabilities = logits.softmax(1).detach().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steelyard.losses.tversky.totals_of_logits", pooled_totals)
        loss(probabilities, target).backward()
    assert probabilities.grad is not None
    return probabilities.grad


def test_formula_and_skip_push_nothing_on_an_absent_class():
    for absent in ("formula", "skip"):
        gradient = probability_gradient(absent_loss(absent), ABSENT_LOGITS, ABSENT_TARGET)
        assert not gradient[:, 2].any()
        assert gradient[:, :2].any()


def test_penalise_pushes_evenly_on_an_absent_class_and_harder_with_fp_weight():
    for fp_weight in (0.4, 1.2):
        gradient = probability_gradient(absent_loss("penalise", fp_weight), ABSENT_LOGITS, ABSENT_TARGET)
        assert torch.allclose(gradient[:, 2], torch.full((1, 3), fp_weight / 3 / 3, dtype=torch.float64))


def test_penalise_and_formula_agree_where_every_class_is_present():
    logits, target = random_case(seed=1)
    formula, penalise, skip = (absent_loss(absent)(logits, target) for absent in ("formula", "penalise", "skip"))
    assert formula == penalise == skip


def test_skip_is_zero_with_zero_gradient_when_no_class_remains_and_still_backpropagates():
    loss = absent_loss("skip", background=False)
    value, gradient = value_and_gradient(loss, ABSENT_LOGITS, torch.zeros(1, 3, dtype=torch.long))
    assert value == 0
    assert gradient.shape == ABSENT_LOGITS.shape
    assert not gradient.any()


def test_absence_is_judged_within_the_scope():
    """Class 2 is in the first sample alone: over the batch it is there, in the second slice it is not."""
    over_batch = IoULoss(absent="skip")(LOGITS, TARGET)
    assert float(over_batch) == approx(sum(by_hand(1, 1)) / 3)
    first = [tversky(0.7, 0.3, 0.3, 1, 1), tversky(0.5, 0.5, 0.5, 1, 1), tversky(0.6, 0.4, 0.4, 1, 1)]
    second = [tversky(0.6, 0.6, 0.4, 1, 1), tversky(0.9, 0.3, 1.1, 1, 1)]
    per_slice = IoULoss(absent="skip", scope="slice")(LOGITS, TARGET)
    assert float(per_slice) == approx((sum(first) / 3 + sum(second) / 2) / 2)
    penalised = IoULoss(absent="penalise", scope="slice", fp_weight=1.0)(LOGITS, TARGET)
    assert float(penalised) == approx((sum(first) / 3 + (sum(second) + (0.1 + 0.1 + 0.4) / 3) / 3) / 2)


# Numbers


def test_epsilon_is_in_the_denominator_alone():
    """Nothing predicted and nothing there scores 0, not 1; a single faint pixel shows the size of epsilon."""
    sure = torch.tensor([[[80.0], [-80.0]]], dtype=torch.float64)
    assert float(organ_only(fp_weight=1, fn_weight=1)(sure, torch.zeros(1, 1, dtype=torch.long))) == 1
    faint = torch.tensor([[[1 - 1e-7], [1e-7]]], dtype=torch.float64).log()
    loss = organ_only(fp_weight=1, fn_weight=0)(faint, torch.ones(1, 1, dtype=torch.long))
    assert float(loss) == pytest.approx(1 - 1e-7 / (1e-7 + EPSILON))
    assert EPSILON == 1e-7


def test_the_gradient_is_the_closed_form():
    """∂T/∂p_i = [g_i D − TP (α + (1 − α − β) g_i)] / D², and the loss is −T / C."""
    logits, target = random_case(seed=2)
    fp_weight, fn_weight = 0.3, 1.9
    p, g = logits.softmax(1), nn.functional.one_hot(target, 3).movedim(-1, 1).double()
    over = (0, 2, 3)
    tp, fp, fn = (p * g).sum(over), (p * (1 - g)).sum(over), ((1 - p) * g).sum(over)
    d = (tp + fp_weight * fp + fn_weight * fn + EPSILON)[:, None, None]
    tp = tp[:, None, None]
    closed_form = -(g * d - tp * (fp_weight + (1 - fp_weight - fn_weight) * g)) / d**2 / 3
    gradient = probability_gradient(IoULoss(fp_weight=fp_weight, fn_weight=fn_weight), logits, target)
    torch.testing.assert_close(gradient, closed_form, rtol=1e-10, atol=1e-14)


def test_iou_loss_and_dice_loss_of_one_class_are_bound_by_their_known_relation():
    """IoU = Dice / (2 − Dice), for soft counts as for hard."""
    logits, target = random_case(seed=3, classes=2)
    iou = 1 - organ_only(fp_weight=1, fn_weight=1)(logits, target)
    dice = 1 - organ_only(fp_weight=0.5, fn_weight=0.5)(logits, target)
    assert float(iou) == approx(float(dice / (2 - dice)))


def test_all_prices_may_be_zero_and_nothing_is_charged():
    logits, target = random_case(seed=4)
    assert float(IoULoss(fp_weight=0, fn_weight=0)(logits, target)) == pytest.approx(0, abs=1e-6)


# Options


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"fp_weight": -0.1}, "fp_weight"),
        ({"fn_weight": float("inf")}, "fn_weight"),
        ({"fn_weight": [[1.0]]}, "fn_weight"),
        ({"class_weights": [1, float("nan"), 1]}, "class_weights"),
        ({"scope": "volume"}, "batch, slice"),
        ({"absent": "ignore"}, "formula, skip, penalise"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, object], word: str):
    with pytest.raises(ValueError, match=word):
        IoULoss(**options)


@pytest.mark.parametrize("name", ["fp_weight", "fn_weight", "class_weights"])
def test_one_weight_too_many_is_refused_by_name(name: str):
    with pytest.raises(ValueError, match=f"{name} has 4 values for 3 classes"):
        IoULoss(**{name: [1, 1, 1, 1]})(LOGITS, TARGET)


def test_weights_follow_the_logits_to_any_device_and_no_cast_rounds_them():
    loss = IoULoss(fp_weight=[0.1, 0.7, 1.3], fn_weight=0.3, class_weights=[1e5, 2e5, 3e5])  # 1e5 is inf in float16
    assert float(loss.half()(LOGITS, TARGET)) == float(loss.double()(LOGITS, TARGET))
    assert loss(LOGITS.to("meta"), TARGET.to("meta")).device.type == "meta"


def test_the_printed_form_tells_every_option():
    shown = repr(IoULoss(fp_weight=0.5, fn_weight=[1, 2], class_weights=[3, 4], scope="slice", absent="skip"))
    for part in ("0.5", "(1.0, 2.0)", "(3.0, 4.0)", "slice", "skip", "background=True"):
        assert part in shown


def test_probabilities_are_not_logits_and_constant_offsets_change_nothing():
    moved = LOGITS + torch.tensor([3.0, -2.0])[:, None, None] * torch.ones(2, 1, 3)
    assert float(IoULoss(fp_weight=0.5, fn_weight=1.5)(moved, TARGET)) == pytest.approx(
        float(IoULoss(fp_weight=0.5, fn_weight=1.5)(LOGITS, TARGET)), rel=1e-12
    )
    assert torch.allclose(LOGITS.softmax(1), PROBABILITIES)


@pytest.mark.usefixtures("unchecked_types")
def test_a_background_that_is_no_truth_value_is_refused():
    with pytest.raises(ValueError, match="background must be true or false; came 'false'"):
        IoULoss(background="false")


def test_a_loss_first_called_in_inference_can_be_trained_afterwards():
    loss = IoULoss(fp_weight=[0.51, 1.49], class_weights=[0.37, 0.63])
    logits, target = torch.randn(2, 2, 9, requires_grad=True), torch.randint(0, 2, (2, 9))
    with torch.inference_mode():
        loss(logits, target)
    loss(logits, target).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
