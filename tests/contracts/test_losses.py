"""What every registered loss promises, the ones of tomorrow included."""

from __future__ import annotations

import copy
import inspect
import pickle
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from steelyard.losses import LOSSES
from worked_losses import built, random_case, value_and_gradient

ALL = sorted(LOSSES)
STUDY = {"crossE", "cross_entropy", "iou11", "iou1505", "iou0515", "dice", "diceBK", "dice_ce", "tversky", "per_organ"}
FLOATS = [torch.bfloat16, torch.float16, torch.float32]


def sure_of(target: Tensor, classes: int = 3, *, height: float = 30.0) -> Tensor:
    """Logits of a network that knows the target."""
    return height * nn.functional.one_hot(target, classes).movedim(-1, 1).double()


def test_the_studys_losses_are_registered():
    assert set(ALL) >= STUDY


@pytest.mark.parametrize("name", ALL)
def test_a_loss_says_what_it_is_and_takes_its_options_by_keyword_alone(name: str):
    assert 10 < len(LOSSES.entries[name].summary) < 110
    assert LOSSES[name].__doc__
    assert {p.kind for p in inspect.signature(LOSSES[name]).parameters.values()} <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("space", [(7,), (5, 4), (3, 4, 5)])
@pytest.mark.parametrize("name", ALL)
def test_it_is_a_finite_scalar_in_any_number_of_dimensions(name: str, space: tuple[int, ...]):
    logits, target = random_case(seed=1, space=space)
    value, gradient = value_and_gradient(built(name), logits, target)
    assert built(name)(logits, target).shape == ()
    assert 0 < value < 100
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("name", ALL)
def test_three_dimensions_cost_what_the_same_voxels_cost_in_a_row(name: str):
    logits, target = random_case(seed=2, space=(3, 4, 5))
    flat = built(name)(logits.flatten(2), target.flatten(1))
    assert float(built(name)(logits, target)) == pytest.approx(float(flat), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_it_is_zero_at_the_truth_and_grows_with_every_pixel_that_goes_wrong(name: str):
    _, target = random_case(seed=3, space=(6, 5))
    said, values = target.clone(), []
    for pixel in range(0, 12, 2):
        values.append(float(built(name)(sure_of(said), target)))
        said.view(-1)[pixel] = (said.view(-1)[pixel] + 1) % 3
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert all(after > before for before, after in pairwise(values))


@pytest.mark.parametrize("name", ALL)
def test_a_step_against_the_gradient_lowers_it(name: str):
    logits, target = random_case(seed=4)
    value, gradient = value_and_gradient(built(name), logits, target)
    assert float(built(name)(logits - 0.1 * gradient / gradient.norm(), target)) < value


@pytest.mark.parametrize("name", ALL)
def test_it_is_finite_without_organs_and_on_a_single_pixel(name: str):
    logits, target = random_case(seed=5)
    for some_logits, some_target in (
        (logits, torch.zeros_like(target)),
        (logits[:1, :, :1, :1], torch.zeros(1, 1, 1, dtype=torch.long)),
        (logits[:1, :, :1, :1], torch.full((1, 1, 1), 2)),
    ):
        value, gradient = value_and_gradient(built(name), some_logits, some_target)
        assert torch.tensor(value).isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_the_target_may_be_any_integer_type_and_memory_any_layout(name: str):
    logits, target = random_case(seed=6, batch=2, space=(4, 6))
    expected = built(name)(logits, target)
    for kind in (torch.uint8, torch.int32, torch.int16):
        assert built(name)(logits, target.to(kind)) == expected
    channels_last = logits.contiguous(memory_format=torch.channels_last)
    every_other = logits.repeat_interleave(2, 3)[..., ::2]
    turned = target.transpose(1, 2).contiguous().transpose(1, 2)
    for layout in (channels_last, every_other):
        assert not layout.is_contiguous()
        assert float(built(name)(layout, turned)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", ALL)
def test_half_precision_logits_cost_what_the_same_numbers_cost_in_float32(name: str, kind: torch.dtype):
    logits, target = random_case(seed=7)
    logits = logits.to(kind)
    assert built(name)(logits, target) == built(name)(logits.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert built(name)(logits, target) == built(name)(logits.float(), target)


@pytest.mark.parametrize("name", ALL)
def test_a_float16_slice_of_512_pixels_square_does_not_overflow(name: str):
    """A quarter of a million pixels: float16 ends at 65504."""
    target = torch.zeros(1, 512, 512, dtype=torch.long)
    target[:, 100:180, 200:230], target[:, 300:, 17:] = 1, 2
    logits = (0.2 * sure_of(target)).half()
    value, gradient = value_and_gradient(built(name), logits, target)
    exact = float(built(name)(logits.double(), target))
    assert value == pytest.approx(exact, rel=1e-4)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_logits_of_ten_thousand_are_finite_right_or_wrong(name: str):
    _, target = random_case(seed=8)
    for said in (target, (target + 1) % 3):
        for kind in (torch.float32, torch.float16):
            value, gradient = value_and_gradient(built(name), (2 * sure_of(said, height=1e4) - 1e4).to(kind), target)
            assert torch.tensor(value).isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_finite_differences_agree_with_the_gradient(name: str):
    logits, target = random_case(seed=9, batch=2, space=(2, 3))
    assert torch.autograd.gradcheck(lambda x: built(name)(x, target), logits.requires_grad_())


@pytest.mark.parametrize("name", ALL)
def test_the_inputs_stay_as_they_were_and_the_answer_is_the_same_each_time(name: str):
    logits, target = random_case(seed=10)
    kept_logits, kept_target = logits.clone(), target.clone()
    loss = built(name)
    first, second = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits, target)
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])
    assert torch.equal(logits, kept_logits)
    assert torch.equal(target, kept_target)


@pytest.mark.parametrize("name", ALL)
def test_a_copy_a_pickle_and_a_cast_cost_the_same(name: str):
    logits, target = random_case(seed=11)
    loss = built(name)
    expected = float(loss(logits, target))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), loss.to("cpu", torch.float64), loss.float()):
        assert float(other(logits, target)) == pytest.approx(expected, rel=1e-12)
    assert list(loss.parameters()) == []


@pytest.mark.parametrize("name", ALL)
def test_two_classes_and_five_both_work(name: str):
    for classes in (2, 5):
        logits, target = random_case(seed=12, classes=classes)
        assert built(name, classes)(logits, target) > built(name, classes)(sure_of(target, classes), target)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", ALL)
def test_what_is_no_target_is_refused_in_one_line(name: str):
    logits, target = random_case(seed=13)
    one_hot = nn.functional.one_hot(target, 3).movedim(-1, 1)
    for wrong in (target.double(), one_hot, target[:, None], target[:, :-1], target[:1], target + 1, target - 1):
        with pytest.raises(ValueError, match="target") as caught:
            built(name)(logits, wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="one class"):
        built(name, 1)(logits[:, :1], torch.zeros_like(target))
