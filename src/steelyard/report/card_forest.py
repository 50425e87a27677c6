"""The calibrated weights against every method on outer patients: a forest, and the patients behind it."""

from __future__ import annotations

from math import isfinite

from steelyard.report.card_content import CHOSEN, Card, Comparison
from steelyard.report.card_words import as_difference, unit_of
from steelyard.report.drawing import RULE, SOFT, drawing, scale, shortened, stroke, ticks, words
from steelyard.report.forest import BOTTOM, HEADING, LEFT, LONGEST_LOSS, RIGHT, ROW, TOP, interval_row, signed
from steelyard.report.paired import Pair
from steelyard.report.paired_points import paired_row

WIDTH, P_AT, VERDICT_AT = 940.0, 770.0, 845.0  # of the picture, and where its last columns begin
LONGEST_PANEL = 16  # letters over a panel of patients


def card_forest(card: Card) -> str | None:
    """Calibrated − other per method, with intervals; None where nothing could be compared.

    The declared comparison with the default stands apart: it alone decides, and Holm corrects the others only.
    """
    groups = [
        ("declared, decides alone", [card.gain]),
        ("other losses", card.trained),
        ("decisions moved afterwards", card.later),
    ]
    shown = [(title, found) for title, found in groups if found]
    differences = [as_difference(one, card.by) for _, found in shown for one in found]
    drawn = [value for d in differences for value in (d.difference, d.low, d.high, 0.0) if value is not None]
    known = [value for value in drawn if isfinite(value)]
    if not any(d.difference is not None for d in differences):
        return None
    axis = ticks(min(known), max(known))
    height = TOP + HEADING * len(shown) + ROW * len(differences) + BOTTOM
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return scale(min(max(value, axis[0]), axis[-1]), axis[0], axis[-1], LEFT, RIGHT)

    parts = [stroke([(x(tick), TOP), (x(tick), bottom)], colour=RULE, width=1) for tick in axis]
    parts += [words(x(tick), bottom + 16, signed(tick), anchor="middle", size=11, colour=SOFT) for tick in axis]
    parts.append(stroke([(x(0), TOP), (x(0), bottom)], width=1.4))
    parts += _headings(card, x(0), bottom)
    y = TOP
    for title, found in shown:
        y += HEADING
        parts.append(words(0, y - 8, title, bold=True))
        for one in found:
            y += ROW
            d, middle = as_difference(one, card.by), y - ROW / 2
            parts += interval_row(d, middle, x, title=method_title(one.against), verdict_at=VERDICT_AT)
            parts.append(words(P_AT, middle + 4, _p(one), colour=SOFT))
    return drawing(WIDTH, height, parts, alt=_said(card))


def card_pairs(card: Card) -> str | None:
    """A line per patient from the other method to the calibrated weights: the default, then the moved decisions."""
    own = card.method(CHOSEN)
    if own is None:
        return None
    panels = {}
    for title in dict.fromkeys([card.default, *card.later_titles]):
        other = card.method(title)
        if other is None:
            continue
        both = zip(card.patients, other.of_patients, own.of_patients, strict=False)
        pairs = [Pair(patient, a, b) for patient, a, b in both if a is not None and b is not None]
        if pairs:
            panels[method_title(title, LONGEST_PANEL)] = tuple(
                sorted(pairs, key=lambda pair: (pair.difference, pair.patient_id))
            )
    if not panels:
        return None
    return paired_row(
        panels,
        lower_is_better=not card.objective.higher_is_better,
        ends=("the other", CHOSEN),
        alt=f"{card.objective.title} of each patient under another method and under the calibrated weights.",
    )


def method_title(title: str, most: int = LONGEST_LOSS) -> str:
    """A method's name in so many letters; of a moved decision its last word stays."""
    loss, comma, rule = title.rpartition(", ")
    if len(title) <= most or not comma or rule not in ("offsets", "optimal"):
        return shortened(title, most)
    return f"{shortened(loss, most - len(rule) - 2)}, {rule}"


def _headings(card: Card, zero: float, bottom: float) -> list[str]:
    judged, unit = card.by, unit_of(card.by)[1]
    left, right = ("worse", "better") if judged.higher_is_better else ("better", "worse")
    return [
        words(zero - 8, 34, f"← calibrated {left}", anchor="end", size=11.5, colour=SOFT),
        words(zero + 8, 34, f"calibrated {right} →", size=11.5, colour=SOFT),
        words(RIGHT + 18, 14, f"{unit}, 95 % interval", size=11.5, colour=SOFT),
        words(P_AT, 14, "p, Holm", size=11.5, colour=SOFT),
        words(VERDICT_AT, 14, "calibrated is", size=11.5, colour=SOFT),
        words(
            (LEFT + RIGHT) / 2, bottom + 34, f"calibrated minus other, {judged.title} ({unit})", anchor="middle",
            size=11.5, colour=SOFT,
        ),
    ]  # fmt: skip


def _p(found: Comparison) -> str:
    if found.p_holm is None:
        return "–"
    return f"{found.p_holm:.3f}" if found.p_holm >= 0.001 else "< .001"


def _said(card: Card) -> str:
    told = "; ".join(
        f"{found.against} {as_difference(found, card.by).interval}, {found.verdict}"
        for found in (card.gain, *card.rivals)
    )
    return f"Calibrated minus other, {card.by.title}, {unit_of(card.by)[1]} with 95 % intervals: {told}."
