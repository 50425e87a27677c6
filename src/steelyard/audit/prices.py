"""Prices: does the FP weight move over-segmentation and only it, does the FN weight move misses and only them?"""

from __future__ import annotations

from typing import Any, Literal

from steelyard.audit.finding import Finding
from steelyard.audit.scene import organ_sizes, relabel, scene, sure
from steelyard.audit.subject import Subject

WRONG_PIXELS = 30  # spilled or missed; the smallest organ has 40
FACTOR = 2.0  # by which a weight is raised
WHEN_ZERO = 0.5  # raised to this from 0
# A spilled pixel is a pixel of the background missed: where the background has a term, the other weight moves the loss
# by about 2 % of what its own does. Pooled over classes it would be 100 %.
OTHER_SHARE = 0.1
NOTHING = 1e-9
ALIKE = 0.7  # from this share on, the two effects are called alike

Error = Literal["spills", "misses"]


def fp_weight(subject: Subject) -> Finding:
    """Raising the FP weight makes every organ's spilled pixels dearer, and its missed ones not."""
    return _finding(subject, "FP weight", subject.options.fp, own="spills", other="misses")


def fn_weight(subject: Subject) -> Finding:
    """Raising the FN weight makes every organ's missed pixels dearer, and its spilled ones not."""
    return _finding(subject, "FN weight", subject.options.fn, own="misses", other="spills")


def raised(value: Any, factor: float = FACTOR) -> Any:
    """A weight times `factor`, a list in each of its numbers; from 0, or where there is no number, up from ½."""
    if isinstance(value, list | tuple):
        return [raised(number, factor) for number in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value * factor if is_number and value else WHEN_ZERO * factor / FACTOR


def _finding(subject: Subject, check: str, option: str | None, *, own: Error, other: Error) -> Finding:
    wanted = f"dearer {own}; {other} move by less than {OTHER_SHARE:.0%} of that"
    labels = scene(organ_sizes(subject.classes))
    if option is None:
        spill, miss = (_price(subject, labels, organ=1, error=error) for error in ("spills", "misses"))
        return Finding(
            check,
            "not offered",
            f"no such option; {WRONG_PIXELS} pixels spilled cost {spill:.4f}, {WRONG_PIXELS} missed cost {miss:.4f}",
            wanted,
            numbers={"spill": spill, "miss": miss},
        )
    higher = {option: raised}
    moves = []
    for organ in range(1, subject.classes):
        by = {
            error: _price(subject, labels, organ=organ, error=error, **higher)
            - _price(subject, labels, organ=organ, error=error)
            for error in (own, other)
        }
        moves.append((by[own], by[other], organ))
    mine, others, organ = min(moves, key=lambda move: move[0] - abs(move[1]) / OTHER_SHARE)
    passed = mine > NOTHING and abs(others) <= OTHER_SHARE * mine
    return Finding(
        check,
        "pass" if passed else "fail",
        f"{option} × {FACTOR:g}: {own} {mine:+.4f}, {other} {others:+.4f} (class {organ}, {WRONG_PIXELS} pixels)",
        wanted,
        "" if passed else _explanation(option, mine, others, own, other),
        {f"{own}_move": mine, f"{other}_move": others, "class": organ},
    )


def _price(subject: Subject, labels: Any, *, organ: int, error: str, **changed: Any) -> float:
    """What an error costs above a right prediction, at these options."""
    classes = subject.classes
    was, becomes = (0, organ) if error == "spills" else (organ, 0)
    wrong = sure(relabel(labels, was, becomes, WRONG_PIXELS), classes)
    return subject.price(wrong, labels, **changed) - subject.price(sure(labels, classes), labels, **changed)


def _explanation(option: str, mine: float, others: float, own: Error, other: Error) -> str:
    if abs(mine) <= NOTHING and abs(others) <= NOTHING:
        return f"{option} is ignored: it changes nothing."
    if mine < -NOTHING:
        return f"Raising {option} makes {own} cheaper."
    if abs(others) * ALIKE > mine:
        return f"{option} moves {other}, not {own}: the two weights are swapped, or this is the other option."
    if abs(others) > ALIKE * mine:
        return (
            f"{option} moves {own} and {other} alike: the counts are pooled over classes before the index, where every "
            "spilled pixel is another class's miss, and the balance of the two weights has no effect."
        )
    return f"{option} moves {other} as well."
