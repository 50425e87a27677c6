"""Absent organs: what a class without a reference pixel adds, and whether anything pushes it out of the prediction."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steelyard.audit.finding import Finding, Verdict
from steelyard.audit.options import ABSENT, ALIVE
from steelyard.audit.prices import raised
from steelyard.audit.scene import organ_sizes, relabel, scene, sure
from steelyard.audit.subject import Subject

CERTAINTIES = (1 - 1e-5, 1 - 1e-12)  # two predictions that are right everywhere, and that no eye could tell apart
STEP = 0.01  # of the way from truth to error by which the two may differ
FACTOR = 4.0  # by which the FP weight is raised
GROWTH = 1.05  # of the push that a weight four times as high must bring at least
DEAD = 1e-4  # push, as a share of the way from truth to error
INVENTED = 40  # pixels


def absent_value(subject: Subject) -> Finding:
    """A right prediction of slices without an organ costs the same, whatever trace of probability is left."""
    target, _ = _without_last(subject)
    complete = scene(organ_sizes(subject.classes))
    traces, none = (subject.price(sure(target, subject.classes, certainty=c), target) for c in CERTAINTIES)
    with_all = [subject.price(sure(complete, subject.classes, certainty=c), complete) for c in CERTAINTIES]
    span = _span(subject)
    step = (traces - none) - (with_all[0] - with_all[1])  # what surety itself costs, absent organ or not, is left out
    passed = math.isfinite(step) and abs(step) <= STEP * span
    explanation = ""
    if not passed:
        explanation = (
            "Two predictions that are right everywhere, and alike to five digits, are charged differently: the absent "
            "class's term is a step, from which the gradient comes only where hardly any probability is left."
        )
    elif none > STEP * span:
        explanation = "A right prediction is charged for the absent class: a constant, without effect on the gradient."
    return Finding(
        "absent organ: value",
        "pass" if passed else "fail",
        f"right at certainty 0.99999 {traces:.4f}, at 1 {none:.4f}",
        "equal, or as far apart as with all organs",
        explanation,
        {"traces": traces, "none": none, "step": step},
    )


def absent_gradient(subject: Subject) -> Finding:
    """What pushes an invented organ out of slices that have none, and whether a higher FP weight pushes harder."""
    target, organ = _without_last(subject)
    span, option = _span(subject), subject.options.fp
    push = _push(subject, target, organ)
    check = "absent organ: gradient"
    if option is None:
        alive = push > DEAD * span
        wanted = "a push > 0"
        measured, numbers = f"push {push:.2e}; no FP weight is offered", {"push": push}
        if alive:
            return Finding(check, "pass", measured, wanted, numbers=numbers)
        return _dead(subject, check, measured, wanted, target, organ, numbers)
    stronger = _push(subject, target, organ, **{option: _higher})
    measured = f"push {push:.2e}; {stronger:.2e} with {option} × {FACTOR:g}"
    wanted = f"× {GROWTH} at least, and > 0"
    numbers = {"push": push, "push_at_higher_weight": stronger}
    if _alive(push, stronger, span):
        return Finding(check, "pass", measured, wanted, numbers=numbers)
    return _dead(subject, check, measured, wanted, target, organ, numbers)


def empty_slice(subject: Subject) -> Finding:
    """Slices without any organ: finite, with a finite gradient, and an invented organ costs more than none."""
    labels = torch.zeros_like(scene(organ_sizes(subject.classes)))
    classes, organ = subject.classes, 1
    right = subject.price(sure(labels, classes), labels)
    invented = subject.price(sure(relabel(labels, 0, organ, INVENTED), classes), labels)
    push, span = _push(subject, labels, organ), _span(subject)
    check, wanted = "all-empty slice", "finite; an invented organ costs more and is pushed out"
    measured = f"right {right:.4f}, {INVENTED} pixels invented {invented:.4f}, push {push:.2e}"
    numbers = {"right": right, "invented": invented, "push": push}
    if not all(math.isfinite(number) for number in numbers.values()):
        return Finding(check, "fail", measured, wanted, "One empty slice ends a training.", numbers)
    if invented - right > 0 and push > DEAD * span:
        return Finding(check, "pass", measured, wanted, numbers=numbers)
    return _dead(subject, check, measured, wanted, labels, organ, numbers)


def _dead(
    subject: Subject, check: str, measured: str, wanted: str, target: Tensor, organ: int, numbers: dict[str, float]
) -> Finding:
    """A failure, unless an option named `absent` declares it and was seen to undo it."""
    pushed = numbers["push"] > DEAD * _span(subject)
    what = (
        "The FP weight does not reach a class without a reference pixel: what pushes it out is the terms of other "
        "classes, alike for every FP weight."
        if pushed
        else "Dead: nothing pushes an invented organ out of slices that have none."
    )
    if numbers["push"] < -DEAD * _span(subject):
        what = "An invented organ is pulled into slices that have none."
    verdict: Verdict = "fail"
    if subject.options.absent is not None:
        given = subject.loss.value_of(ABSENT)
        if _comes_to_life(subject, target, organ):
            verdict = "declared"
            what += f" The option {ABSENT}={given} says so, and {ABSENT}={ALIVE} was seen to bring it to life."
        else:
            what += f" The option {ABSENT} does not undo it."
    return Finding(check, verdict, measured, wanted, what, numbers)


def _comes_to_life(subject: Subject, target: Tensor, organ: int) -> bool:
    option, alive = subject.options.fp, {ABSENT: ALIVE}
    try:
        push = _push(subject, target, organ, **alive)
        if option is None:
            return push > DEAD * _span(subject)
        higher = {option: _higher}
        return _alive(push, _push(subject, target, organ, **alive, **higher), _span(subject))
    except Exception:  # a loss whose `absent` knows other words
        return False


def _higher(weight: Any) -> Any:
    return raised(weight, FACTOR)


def _alive(push: float, stronger: float, span: float) -> bool:
    return stronger > DEAD * span and stronger > GROWTH * push > 0


def _push(subject: Subject, target: Tensor, organ: int, **changed: Any) -> float:
    """How fast the loss falls as probability goes from an organ back to the background, over all background pixels."""
    classes = subject.classes
    state = sure(target, classes, certainty=0.9)
    background = target == 0
    state[:, organ] += 0.2 * background
    state[:, 0] -= 0.2 * background
    state.requires_grad_()
    charged = subject.charge(state, target, **changed)
    if not charged.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(charged, state, allow_unused=True)
    if gradient is None:
        return 0.0
    return float(((gradient[:, organ] - gradient[:, 0]) * background).sum())


def _without_last(subject: Subject) -> tuple[Tensor, int]:
    """Slices with every organ but the last, and that organ's class."""
    return scene(organ_sizes(subject.classes)[:-1]), subject.classes - 1


def _span(subject: Subject) -> float:
    """The way from truth to error, in slices that have all organs."""
    labels, classes = scene(organ_sizes(subject.classes)), subject.classes
    right = subject.price(sure(labels, classes), labels)
    wrong = subject.price(sure((labels + 1) % classes, classes, certainty=0.99), labels)
    return max(abs(wrong - right), 1e-12)
