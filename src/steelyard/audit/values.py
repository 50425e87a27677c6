"""Values: the range of the loss, whether it is least at the truth, and what losing a small organ costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from steelyard.audit.finding import Finding
from steelyard.audit.scene import organ_sizes, relabel, scene, sure, unsure
from steelyard.audit.subject import Subject

LEANS = (-6.0, -2.0, 0.0, 2.0, 6.0)  # from surely wrong to surely right, in logits
STEPS = 10  # on the way from no idea to the truth
ROUNDING = 1e-6
FEW_PIXELS = 5  # wrong: the smallest error that must be dearer than the truth
CERTAIN = 1 - 1e-12


def value_range(subject: Subject) -> Finding:
    """Finite for every prediction, also for a sure and wrong one, and not below 0."""
    prices = [subject.price(prediction, labels) for prediction, labels in _predictions(subject)]
    least, most = min(prices), max(prices)
    finite = all(math.isfinite(price) for price in prices)
    truth = _truth(subject)
    measured = f"{least:.4f} to {most:.4f} over {len(prices)} predictions" if finite else _not_finite(prices)
    wanted = "finite, from 0"
    numbers = {"least": least, "most": most, "truth": truth}
    if not finite:
        return Finding("range", "fail", measured, wanted, "One such batch ends a training.", numbers)
    if least >= -ROUNDING:
        return Finding("range", "pass", measured, wanted, numbers=numbers)
    if least >= truth - ROUNDING:
        explanation = (
            "It starts below 0, at the truth: harmless to the gradient, not to a sum or a logarithm of losses."
        )
        return Finding("range", "note", measured, wanted, explanation, numbers)
    return Finding("range", "fail", measured, wanted, f"Below 0, and below the truth ({truth:.4f}).", numbers)


def least_at_truth(subject: Subject) -> Finding:
    """Every error costs more than the truth, and the loss falls all the way from no idea to the truth."""
    labels, classes = scene(organ_sizes(subject.classes)), subject.classes
    truth = _truth(subject)
    errors = {
        (was, becomes): subject.price(
            sure(relabel(labels, was, becomes, FEW_PIXELS), classes, certainty=CERTAIN), labels
        )
        - truth
        for was in range(classes)
        for becomes in range(classes)
        if was != becomes
    }
    (was, becomes), smallest = min(errors.items(), key=lambda item: item[1])
    way = [
        subject.price(sure(labels, classes, certainty=1 / classes + (CERTAIN - 1 / classes) * step / STEPS), labels)
        for step in range(STEPS + 1)
    ]
    rise = max(after - before for before, after in pairwise(way))
    passed = smallest > ROUNDING and rise <= ROUNDING
    explanations = []
    if not smallest > ROUNDING:
        explanations.append(f"{FEW_PIXELS} pixels of class {was} taken for class {becomes} are not charged.")
    if not rise <= ROUNDING:
        explanations.append("On the way from no idea to the truth it rises, as with smoothed labels.")
    return Finding(
        "least at the truth",
        "pass" if passed else "fail",
        f"cheapest error {smallest:+.5f} ({FEW_PIXELS} pixels of class {was} as {becomes}); "
        f"steps towards the truth {rise:+.4f} at most",
        "every error > 0, every step towards the truth < 0",
        " ".join(explanations),
        {"cheapest_error": smallest, "largest_step": rise, "truth": truth},
    )


def small_organ(subject: Subject) -> Finding:
    """What it costs to lose a small organ, beside a large one."""
    sizes = [12, 1200, *[300] * (subject.classes - 3)]
    labels, classes = scene(sizes), subject.classes
    truth = subject.price(sure(labels, classes), labels)
    small, large = (subject.price(sure(relabel(labels, organ, 0), classes), labels) - truth for organ in (1, 2))
    share = small / large if large else math.nan
    return Finding(
        "a small organ",
        "note",
        f"losing an organ of {sizes[0]} pixels costs {small:.4f}, one of {sizes[1]} costs {large:.4f}: {share:.0%}",
        "100 % where every class has its own term, 1 % where every pixel counts alike",
        numbers={"small": small, "large": large},
    )


def _truth(subject: Subject) -> float:
    labels = scene(organ_sizes(subject.classes))
    return subject.price(sure(labels, subject.classes, certainty=CERTAIN), labels)


def _predictions(subject: Subject) -> Iterator[tuple[Tensor, Tensor]]:
    labels, classes = scene(organ_sizes(subject.classes)), subject.classes
    for seed, lean in enumerate(LEANS):
        for spread in (0.5, 4.0):
            yield unsure(labels, classes, seed=seed, spread=spread, lean=lean), labels
    for certainty in (1 / classes, 0.9, CERTAIN):
        for shift in range(classes):
            yield sure((labels + shift) % classes, classes, certainty=certainty), labels
        for organ in range(1, classes):
            yield sure(relabel(labels, organ, 0), classes, certainty=certainty), labels


def _not_finite(prices: list[float]) -> str:
    count = sum(not math.isfinite(price) for price in prices)
    return f"{count} of {len(prices)} predictions give no finite number"
