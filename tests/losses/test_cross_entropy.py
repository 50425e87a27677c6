"""Cross-entropy, plain and weighted by inverse frequency, against arithmetic by hand and torch's own."""

from __future__ import annotations

import shutil
import warnings
from math import log

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from steelyard.losses import LOSSES, native_counts
from steelyard.losses.cross_entropy import CrossEntropyLoss
from worked_losses import LOGITS, TARGET, random_case, value_and_gradient

# The probability of the reference class of each pixel of the worked example: classes 0, 1, 2 and 0, 1, 1.
GIVEN = (0.7, 0.5, 0.6, 0.6, 0.8, 0.1)


def test_plain_cross_entropy_is_the_mean_negative_logarithm():
    assert float(LOSSES["cross_entropy"]()(LOGITS, TARGET)) == pytest.approx(-sum(map(log, GIVEN)) / 6, rel=1e-12)


def test_weights_multiply_each_pixel_and_their_sum_divides():
    loss = CrossEntropyLoss(class_weights=[0.2, 0.8, 3.0])
    charged = 0.2 * log(0.7) + 0.8 * log(0.5) + 3 * log(0.6) + 0.2 * log(0.6) + 0.8 * log(0.8) + 0.8 * log(0.1)
    assert float(loss(LOGITS, TARGET)) == pytest.approx(-charged / (2 * 0.2 + 3 * 0.8 + 3.0), rel=1e-12)


def test_cross_e_weighs_a_class_by_one_over_its_frequency():
    """Frequencies .5, .4, .1 make the weights 2, 2.5 and 10."""
    charged = 2 * log(0.7) + 2.5 * log(0.5) + 10 * log(0.6) + 2 * log(0.6) + 2.5 * log(0.8) + 2.5 * log(0.1)
    value = float(LOSSES["crossE"](class_frequencies=[0.5, 0.4, 0.1])(LOGITS, TARGET))
    assert value == pytest.approx(-charged / (2 * 2 + 3 * 2.5 + 10), rel=1e-12)


def test_cross_e_charges_nothing_for_a_class_never_seen_and_says_so():
    with pytest.warns(UserWarning, match=r"no training pixel of class \[2\]"):
        loss = LOSSES["crossE"](class_frequencies=[0.75, 0.25, 0.0])
    charged = 4 / 3 * (log(0.7) + log(0.6)) + 4 * (log(0.5) + log(0.8) + log(0.1))
    assert float(loss(LOGITS, TARGET)) == pytest.approx(-charged / (2 * 4 / 3 + 3 * 4), rel=1e-12)


def test_cross_e_is_silent_when_every_class_was_seen():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LOSSES["crossE"](class_frequencies=[0.9, 0.06, 0.04])


@pytest.mark.parametrize("shares", [[0.5, float("nan"), 0.5], [1.2, -0.2, 0.0], [float("inf"), 0.1, 0.1]])
def test_cross_e_refuses_frequencies_that_are_none(shares: list[float]):
    with pytest.raises(ValueError, match="class_frequencies"):
        LOSSES["crossE"](class_frequencies=shares)


def test_a_batch_of_weight_zero_alone_costs_nothing_and_moves_nothing():
    value, gradient = value_and_gradient(
        CrossEntropyLoss(class_weights=[1.0, 2.0, 0.0]), LOGITS, torch.full((2, 3), 2, dtype=torch.long)
    )
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("weights", [None, [0.2, 0.8, 3.0]])
def test_values_and_gradients_are_those_of_torch(weights: list[float] | None):
    logits, target = random_case(seed=5)
    of_torch = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    ours = value_and_gradient(CrossEntropyLoss(class_weights=weights), logits, target)
    theirs = value_and_gradient(lambda x, t: functional.cross_entropy(x, t, weight=of_torch), logits, target)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-12, atol=1e-15)


def test_seventeen_million_pixels_are_summed_without_loss():
    side = 4160
    logits = torch.tensor([0.3, 0.7]).log()[None, :, None, None].expand(1, 2, side, side)
    loss = CrossEntropyLoss(class_weights=[0.7, 1.9])
    target = torch.zeros(1, 1, 1, dtype=torch.long).expand(1, side, side)
    assert float(loss(logits, target)) == pytest.approx(-log(0.3), rel=1e-5)


@pytest.mark.parametrize("weights", [[1.0, -0.5], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_weight_that_makes_no_sense_is_refused(weights: list[float]):
    with pytest.raises(ValueError, match="class_weights must be finite"):
        CrossEntropyLoss(class_weights=weights)


def test_one_weight_too_few_is_refused():
    with pytest.raises(ValueError, match="class_weights has 2 values for 3 classes"):
        CrossEntropyLoss(class_weights=[1.0, 2.0])(LOGITS, TARGET)


def test_rare_classes_keep_their_weight_under_half_and_on_another_device():
    loss = LOSSES["crossE"](class_frequencies=[1 - 2e-6, 1e-6, 1e-6])  # weight 1e6 is inf in float16
    assert float(loss.half()(LOGITS, TARGET)) == float(loss.double()(LOGITS, TARGET))
    assert loss(LOGITS.to("meta"), TARGET.to("meta")).device.type == "meta"


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")
SHAPES = [(2, 3, 7), (3, 5, 33, 31), (2, 3, 257, 263), (1, 105, 11, 13)]  # odd ends of tiles, blocks and pieces


def _in_double(logits: Tensor, target: Tensor, weights: list[float] | None) -> tuple[Tensor, Tensor]:
    exact = logits.detach().double().requires_grad_()
    given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    value = functional.cross_entropy(exact, target.long(), weight=given)
    return value, torch.autograd.grad(value, exact)[0]


@needs_compiler
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_is_charged_in_one_pass_as_the_formula_says(shape: tuple[int, ...], last: bool, weighted: bool):
    torch.manual_seed(3)
    logits = 3 * torch.randn(shape)
    logits = (logits.movedim(1, -1).contiguous().movedim(-1, 1) if last else logits).requires_grad_()
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    weights = [0.3 + index for index in range(shape[1])] if weighted else None
    assert native_counts.takes(logits, target)
    value = CrossEntropyLoss(class_weights=weights)(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    exact, exact_gradient = _in_double(logits, target, weights)
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    error = (gradient.double() - exact_gradient).abs().max()
    assert error < 2e-6 * exact_gradient.abs().max()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_a_pixel_sure_of_the_wrong_class_pays_all_of_the_difference(dtype: torch.dtype):
    """Softmax and its logarithm would have given 0 and infinity; a common offset changes nothing."""
    logits = torch.tensor([[1e4, 1e4 - 3000], [1e4 - 300, 1e4]])[None].requires_grad_()
    target = torch.tensor([[1, 1]], dtype=dtype)
    value = CrossEntropyLoss()(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert float(value.detach()) == pytest.approx((300 + 0) / 2)
    torch.testing.assert_close(gradient, torch.tensor([[[0.5, 0], [-0.5, 0]]]), rtol=0, atol=1e-30)


@needs_compiler
@pytest.mark.parametrize("classes", [2, 3, 31, 300])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(classes: int):
    target = torch.zeros(1, 70, dtype=torch.long)
    value = CrossEntropyLoss()(torch.full((1, classes, 70), -7.5), target)
    assert float(value) == pytest.approx(log(classes), rel=3e-7)


@needs_compiler
def test_nothing_is_lost_where_the_network_diverged():
    logits = torch.zeros(1, 2, 100)
    logits[0, 1, 60] = float("nan")
    assert torch.isnan(CrossEntropyLoss()(logits, torch.zeros(1, 100, dtype=torch.long)))


@needs_compiler
def test_a_label_without_a_class_is_refused_in_float32_as_well():
    for wrong in (3, -1):
        target = torch.zeros(1, 5, dtype=torch.long)
        target[0, 2] = wrong
        with pytest.raises(ValueError, match="class indices from 0 to 2"):
            CrossEntropyLoss()(torch.zeros(1, 3, 5), target)


@needs_compiler
def test_second_derivatives_of_the_one_pass_are_the_formulas():
    torch.manual_seed(4)
    target = torch.randint(0, 3, (2, 5))
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(5)
        logits = torch.randn(2, 3, 5).to(dtype).requires_grad_()
        value = CrossEntropyLoss(class_weights=[0.2, 0.8, 3.0])(logits, target)
        (first,) = torch.autograd.grad(value, logits, create_graph=True)
        found.append((first.double(), torch.autograd.grad((first**2).sum(), logits)[0].double()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)
