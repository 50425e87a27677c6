"""Per-organ loss: each organ pays by its own tariff, and an organ's tariff touches what it is set against."""

from __future__ import annotations

import math
import re
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from steelyard.losses import LOSSES, IoULoss
from steelyard.losses.cross_entropy import CrossEntropyLoss
from steelyard.losses.per_organ import PerOrganLoss, per_organ
from worked_losses import FN, FP, LOGITS, PROBABILITIES, TARGET, TP, random_case, tversky, value_and_gradient

FN_DEAR = {"name": "tversky", "fp_weight": 0.5, "fn_weight": 1.5}
FP_DEAR = {"name": "tversky", "fp_weight": 1.7, "fn_weight": 0.3}


def value(loss: torch.nn.Module, logits: Tensor = LOGITS, target: Tensor = TARGET) -> float:
    return float(loss(logits, target))


def test_by_hand_a_tversky_for_one_organ_and_a_cross_entropy_for_the_other() -> None:
    """Organ 2 is pixel 2 of the first sample alone: log .6 there, log (1 − p) elsewhere."""
    of_first = tversky(TP[1], FP[1], FN[1], 0.5, 1.5)
    of_second = -(math.log(0.6) + sum(math.log(1 - p) for p in (0.1, 0.3, 0.1, 0.1, 0.4))) / 6
    loss = per_organ(organs=[FN_DEAR, "cross_entropy"])
    assert value(loss) == pytest.approx((of_first + of_second) / 2, rel=1e-6)
    weighted = per_organ(organs=[FN_DEAR, "cross_entropy"], weights=[1, 3])
    assert value(weighted) == pytest.approx((of_first + 3 * of_second) / 4, rel=1e-6)
    swapped = per_organ(organs=["cross_entropy", FN_DEAR])
    assert abs(value(swapped) - value(loss)) > 0.05


def test_against_the_background_an_organ_has_the_sigmoid_of_its_lead_over_the_background() -> None:
    """p_c / (p_0 + p_c) in each pixel: for organ 1, the six of samples one and two."""
    lead = PROBABILITIES[:, 1] / (PROBABILITIES[:, 0] + PROBABILITIES[:, 1])
    assert lead.flatten().tolist() == pytest.approx([2 / 9, 5 / 7, 3 / 4, 1 / 3, 8 / 9, 1 / 6])
    organ = TARGET == 1
    tp, fp, fn = (float(x.sum()) for x in (lead[organ], lead[~organ], 1 - lead[organ]))
    of_first = tversky(tp, fp, fn, 0.5, 1.5)
    of_second = functional.binary_cross_entropy_with_logits(LOGITS[:, 2] - LOGITS[:, 0], (TARGET == 2).double())
    loss = per_organ(organs=[FN_DEAR, "cross_entropy"], against="background")
    assert value(loss) == pytest.approx((of_first + float(of_second)) / 2, rel=1e-6)


def test_tverskys_against_the_rest_are_one_tversky_with_a_price_per_class() -> None:
    logits, target = random_case(seed=3, classes=4)
    third = {"name": "tversky", "fp_weight": 1.1, "fn_weight": 0.4, "absent": "penalise"}
    one = IoULoss(
        fp_weight=[9, 0.5, 1.7, 1.1], fn_weight=[9, 1.5, 0.3, 0.4], background=False, class_weights=[9, 2, 3, 1]
    )
    many = per_organ(organs=[FN_DEAR, FP_DEAR, third], weights=[2, 3, 1])
    for some_target in (target, target.clamp(max=2)):
        if some_target is not target:
            one.absent = "penalise"
            many = per_organ(organs=[e | {"absent": "penalise"} for e in (FN_DEAR, FP_DEAR, third)], weights=[2, 3, 1])
        expected, gradient = value_and_gradient(one, logits, some_target)
        found, found_gradient = value_and_gradient(many, logits, some_target)
        assert found == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(found_gradient, gradient)


@pytest.mark.parametrize("name", ["dice", "diceBK", "iou11", "iou0515"])
def test_of_an_overlap_loss_the_organs_term_alone_counts(name: str) -> None:
    fp, fn = {"dice": (0.5, 0.5), "diceBK": (0.5, 0.5), "iou11": (1, 1), "iou0515": (0.5, 1.5)}[name]
    expected = (tversky(TP[1], FP[1], FN[1], fp, fn) + tversky(TP[2], FP[2], FN[2], fp, fn)) / 2
    assert value(per_organ(organs=name)) == pytest.approx(expected, rel=1e-6)
    assert value(per_organ(organs=[name, {"name": name}])) == pytest.approx(expected, rel=1e-6)
    assert LOSSES["dice"]().background  # by itself it is as it was


def test_dice_ce_is_the_organs_dice_and_its_cross_entropy() -> None:
    expected = value(per_organ(organs="dice")) + value(per_organ(organs="cross_entropy"))
    assert value(per_organ(organs="dice_ce")) == pytest.approx(expected, rel=1e-12)


def test_a_tversky_may_keep_the_term_of_everything_else() -> None:
    """Everything else, seen from organ 2: TP is the organ's TN, and its FP are the organ's FN."""
    organ = tversky(TP[2], FP[2], FN[2], 0.5, 1.5)
    rest = tversky(6 - TP[2] - FP[2] - FN[2], FN[2], FP[2], 0.5, 1.5)
    loss = per_organ(organs=["dice", FN_DEAR | {"background": True}], weights=[0, 1])
    assert value(loss) == pytest.approx((organ + rest) / 2, rel=1e-6)
    assert value(per_organ(organs=["dice", FN_DEAR], weights=[0, 1])) == pytest.approx(organ, rel=1e-6)


@pytest.mark.parametrize("organs", ["crossE", ["crossE", "crossE"], ["dice", {"name": "crossE"}]])
def test_cross_e_weighs_an_organ_against_everything_else_by_their_frequencies(organs: str | list) -> None:
    """Organ 2 is a tenth of the training pixels: weights 10 and 10/9."""
    p = PROBABILITIES[:, 2]
    charged = torch.where(TARGET == 2, -10 * p.log(), -10 / 9 * (1 - p).log())
    expected = float(charged.sum()) / (10 + 5 * 10 / 9)
    loss = per_organ(organs=organs, weights=[0, 1], class_frequencies=[0.6, 0.3, 0.1])
    assert value(loss) == pytest.approx(expected, rel=1e-6)


def test_an_organ_never_seen_is_warned_of_by_its_own_number() -> None:
    with pytest.warns(UserWarning, match=r"^organ 2: crossE: no training pixel"):
        per_organ(organs=["dice", "crossE"], class_frequencies=[0.6, 0.4, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        per_organ(organs=["crossE", "dice"], class_frequencies=[0.6, 0.4, 0.0])


def test_an_organs_loss_against_the_background_moves_its_own_logit_alone() -> None:
    logits, target = random_case(seed=5, classes=4)
    for against, moved in (("background", [True, False, True, False]), ("rest", [True] * 4)):
        loss = per_organ(organs=["cross_entropy", FN_DEAR, "dice"], weights=[0, 1, 0], against=against)
        _, gradient = value_and_gradient(loss, logits, target)
        assert [bool(gradient[:, c].any()) for c in range(4)] == moved


def test_losses_may_be_given_as_objects_and_are_taken_as_they_are() -> None:
    own = IoULoss(fp_weight=0.5, fn_weight=1.5)  # both terms
    loss = PerOrganLoss(losses=[own, CrossEntropyLoss()], weights=[1, 0])
    p = PROBABILITIES[:, 1]
    assert value(loss) == pytest.approx(value(own, torch.stack((1 - p, p), 1).log(), (TARGET == 1).long()), rel=1e-6)
    assert own.background
    alike = PerOrganLoss(losses=own)
    assert value(alike) == pytest.approx(value(PerOrganLoss(losses=[own, own])), rel=1e-12)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"organs": ["dice", "tverski"]}, "organ 2: no loss is named 'tverski'. Did you mean 'tversky'?"),
        ({"organs": [3, "dice"]}, "organ 1: the name of a loss was wanted"),
        ({"organs": ["dice", {"fp_weight": 1}]}, "organ 2: the name of a loss was wanted"),
        (
            {"organs": ["dice", {"name": "tversky", "fp": 1}]},
            "organ 2: tversky: got an unexpected keyword argument 'fp'",
        ),
        ({"organs": ["dice", {"name": "dice", "background": True}]}, "organ 2: dice: got an unexpected keyword"),
        ({"organs": [{"name": "tversky", "fp_weight": -1}]}, "organ 1: fp_weight must be a finite number ≥ 0"),
        ({"organs": [{"name": "tversky", "background": "no"}]}, "organ 1: background must be true or false"),
        ({"organs": ["crossE"]}, "organ 1: crossE: missing a required argument: 'class_frequencies'"),
        ({"organs": "per_organ"}, "organ 1: per_organ cannot hold per_organ"),
        ({"against": "everything"}, "against must be one of rest, background; came 'everything'"),
        ({"weights": [1, -1]}, "weights must be finite numbers ≥ 0"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [1, math.nan]}, "weights must be finite"),
    ],
)
def test_a_wrong_option_is_told_in_one_line_with_the_organ(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        per_organ(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"organs": ["dice"]}, "organs has 1 entries for 2 organs"),
        ({"organs": ["dice", "dice", "dice"]}, "organs has 3 entries for 2 organs"),
        ({"organs": []}, "organs has 0 entries for 2 organs"),
        ({"weights": [1, 2, 3]}, "weights has 3 entries for 2 organs"),
        ({"organs": ["dice", {"name": "tversky", "fn_weight": [1, 1, 2]}]}, "organ 2: fn_weight has 3 values for 2"),
    ],
)
def test_as_many_entries_as_organs_are_wanted(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        per_organ(**options)(LOGITS, TARGET)
