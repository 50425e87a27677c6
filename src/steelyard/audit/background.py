"""Background: does the option that leaves it out drop class 0, and nothing else?"""

from __future__ import annotations

from typing import Any

import torch

from steelyard.audit.finding import Finding
from steelyard.audit.scene import ALL, organ_sizes, relabel, scene, sure, unsure
from steelyard.audit.subject import Subject

FEW = 12  # pixels of the class that is lost: too few to matter to any class but itself
DROPPED = 0.2  # of its price with a background term that losing class 0 may still cost without one
KEPT = 0.6  # of its price that losing an organ must still cost: leaving a class out of a mean raises it, as a rule


def background_option(subject: Subject) -> Finding:
    """Losing all of a tiny class costs its term: without the background, class 0's price falls and no other's.

    The background too is made tiny here, and lost to a large organ, whose own term hardly notices.
    """
    check, wanted = "background option", "class 0's price falls, every organ's stays"
    classes = subject.classes
    if subject.options.background is None:
        prices = _prices(subject)
        organs = min(prices[1:])
        return Finding(
            check,
            "not offered",
            f"no such option; losing {FEW} pixels that are all of class 0 costs {prices[0]:.4f}, all of an organ "
            f"{organs:.4f} at least",
            wanted,
            numbers={"background": prices[0], "organ": organs},
        )
    kept = _prices(subject, **subject.options.with_background(True, classes))
    dropped = _prices(subject, **subject.options.with_background(False, classes))
    faults = []
    if not (dropped[0] <= DROPPED * kept[0] or _reads_no_channel_0(subject)):
        faults.append("Class 0 is still charged for.")
    lost = [organ for organ in range(1, classes) if not dropped[organ] >= KEPT * kept[organ]]
    if lost:
        faults.append(f"Losing class {', '.join(map(str, lost))} becomes cheaper too.")
    organ = min(range(1, classes), key=lambda organ: dropped[organ] - kept[organ])
    return Finding(
        check,
        "fail" if faults else "pass",
        f"{subject.options.background}: losing class 0 costs {kept[0]:.4f} with it, {dropped[0]:.4f} without; "
        f"class {organ} {kept[organ]:.4f} and {dropped[organ]:.4f}",
        wanted,
        " ".join(faults),
        {f"class_{number}_kept": price for number, price in enumerate(kept)}
        | {f"class_{number}_dropped": price for number, price in enumerate(dropped)},
    )


def _reads_no_channel_0(subject: Subject) -> bool:
    """Whether a loss with a channel per class has no gradient in that of class 0 once the background is left out.

    A loss of single pixels charges a lost background pixel to the organ that took it, as it should. Behind a softmax
    every channel has a gradient, and this says nothing.
    """
    labels = scene(organ_sizes(subject.classes))
    given = subject.as_input(unsure(labels, subject.classes, seed=4)).requires_grad_()
    charged = subject.call(given, labels, **subject.options.with_background(False, subject.classes))
    (gradient,) = torch.autograd.grad(charged, given)
    return not gradient[:, 0].any() and bool(gradient.any())


def _prices(subject: Subject, **changed: Any) -> list[float]:
    """What losing all of each class costs when that class is tiny and all others are large."""
    return [_price(subject, tiny, **changed) for tiny in range(subject.classes)]


def _price(subject: Subject, tiny: int, **changed: Any) -> float:
    classes = subject.classes
    large = (ALL - FEW) // (classes - 1)
    sizes = [FEW if organ == tiny else large for organ in range(1, classes)]
    if tiny == 0:
        sizes[-1] += ALL - FEW - sum(sizes)
    labels = scene(sizes)
    lost = relabel(labels, tiny, 1 if tiny == 0 else 0)
    wrong, right = (sure(answer, classes) for answer in (lost, labels))
    return subject.price(wrong, labels, **changed) - subject.price(right, labels, **changed)
