"""Logits or probabilities: does the loss take what the network gives, and apply one softmax to it, not two?"""

from __future__ import annotations

from dataclasses import replace

from steelyard.audit.finding import Finding
from steelyard.audit.scene import organ_sizes, scene, sure
from steelyard.audit.subject import Subject

MORE_CLASSES = 3  # times as many: a second softmax is the flatter the more classes there are
RESIDUAL = 0.02  # of the way from truth to error that a sure and right answer may still cost more

CERTAIN, LESS_CERTAIN = 1 - 1e-12, 1 - 1e-7


def input_form(subject: Subject) -> Finding:
    """A loss fed with logits applies one activation; one fed with probabilities none."""
    check = "logits or probabilities"
    wanted = f"for {subject.input_form}: " + ("one softmax" if subject.input_form == "logits" else "no activation")
    if subject.input_form == "logits" and subject.activation == "none":
        return Finding(
            check,
            "fail",
            "no activation: what is added to all logits of a pixel changes the loss",
            wanted,
            "It takes its input for probabilities and gives a number for logits too, but a wrong one. Give the option "
            "that applies a softmax (MONAI: softmax=true; segmentation-models-pytorch: from_logits=true), or say "
            "--input probabilities if the network ends in one. The other checks feed it probabilities.",
        )
    if subject.input_form == "probabilities" and subject.activation != "none":
        return Finding(
            check,
            "fail",
            f"it applies a {subject.activation} to the probabilities that it is given",
            wanted,
            "An activation applied twice: no pixel can be surer than about one half, and gradients shrink. Turn one of "
            "the two off. The other checks feed it logits.",
        )
    if subject.activation == "none":
        return Finding(check, "pass", "no activation", wanted)
    few = _residual(subject, subject.classes)
    more = _residual_of_more(subject)
    left = few[0] if more is None else abs(more - few[1]) / few[2]
    # Smoothed labels charge a sure and right answer too, but a surer one the more: a softmax twice ends somewhere.
    ends = abs(_residual(subject, subject.classes, certainty=LESS_CERTAIN)[1] - few[1]) <= RESIDUAL * few[2]
    twice = left > RESIDUAL and ends
    told = f"{subject.classes} classes {few[1]:.4f}" + (
        "" if more is None else f", {MORE_CLASSES * subject.classes} classes {more:.4f}"
    )
    measured = f"{subject.activation}; a sure and right answer costs, {told}"
    numbers = {"classes": few[1]} | ({} if more is None else {"more_classes": more})
    if twice:
        return Finding(
            check,
            "fail",
            measured,
            wanted,
            "The softmax is applied twice: the surest logits reach a probability of e / (e + C − 1) only, so that a "
            "right answer is still charged, the more the more classes there are.",
            numbers,
        )
    if subject.activation == "sigmoid":
        return Finding(
            check,
            "note",
            measured,
            wanted,
            "One sigmoid per class, in one of its terms at least: a pixel's probabilities do not add up to 1, and a "
            "softmax over them is not what was trained.",
            numbers,
        )
    return Finding(check, "pass", measured, wanted, numbers=numbers)


def _residual(subject: Subject, classes: int, *, certainty: float = CERTAIN) -> tuple[float, float, float]:
    """What a sure and right answer costs as a share of the way to a wrong one, the cost itself, and that way."""
    labels = scene(organ_sizes(classes))
    right = subject.price(sure(labels, classes, certainty=certainty), labels)
    wrong = subject.price(sure((labels + 1) % classes, classes, certainty=0.99), labels)
    span = max(wrong - right, 1e-12)
    return abs(right) / span, right, span


def _residual_of_more(subject: Subject) -> float | None:
    """The same cost with more classes; None for a loss whose options fix their number."""
    try:
        more = replace(subject, classes=MORE_CLASSES * subject.classes)
        return _residual(more, more.classes)[1]
    except Exception:  # whatever foreign code raises for another number of classes
        return None
