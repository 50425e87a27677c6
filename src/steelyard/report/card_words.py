"""What a decision card says in sentences: the verdict, the gain, whether moving the decision does as well, the cost."""

from __future__ import annotations

import math
from typing import Any

from steelyard.report.card_content import EQUAL_R, SHARE_UNIT, Card, Chosen, Comparison, Judged, organ_title
from steelyard.report.statistics import Difference

UNDEFINED = "undefined"


def headline(card: Card) -> str:
    """The verdict, as `Keep the default, iou11: the gain is within noise.`"""
    start = f"Change to {weights_in_words(card.chosen)}" if card.decision == "change" else _keep(card)
    return f"{start}: {card.reason}"


def _keep(card: Card) -> str:
    return f"Keep the default, {card.default}"


def weights_in_words(chosen: Chosen) -> str:
    """`r = .75 (fp_weight 0.5, fn_weight 1.5)`, or organ by organ where they differ."""
    pairs = {organ: (own.fp_weight, own.fn_weight) for organ, own in chosen.weights.items()}
    if len(set(pairs.values())) == 1:
        fp_weight, fn_weight = next(iter(pairs.values()))
        return f"r = {ratio(next(iter(chosen.r.values())))} (fp_weight {fp_weight:g}, fn_weight {fn_weight:g})"
    return "r = " + ", ".join(f"{ratio(r)} for the {organ_title(organ)}" for organ, r in chosen.r.items())


def ratio(r: float) -> str:
    """As charts show r: `.75`."""
    return f"{r:.3g}".removeprefix("0")


def unit_of(judged: Judged) -> tuple[float, str]:
    """(factor, unit) of a difference: shares of 1 in points, all else in its unit."""
    if judged.unit == SHARE_UNIT:
        return 100.0, "points"
    return 1.0, {"cost": "units of cost"}.get(judged.unit, judged.unit)


def as_difference(found: Comparison, judged: Judged) -> Difference:
    """The comparison as the report's charts show one: in points or the unit of what is judged."""
    factor, _ = unit_of(judged)

    def times(value: float | None) -> float | None:
        return None if value is None else factor * value

    return Difference(
        loss=found.against,
        organ=None,
        patients=found.patients,
        undefined=0,
        difference=times(found.difference),
        low=times(found.low),
        high=times(found.high),
        p=None,
        p_mean=None,
        p_holm=found.p_holm,
        minimum_detectable=times(found.minimum_detectable),
        verdict=found.verdict,
        in_family=True,
    )


def difference_in_words(found: Comparison, judged: Judged) -> str:
    """`+2.3 points (95 % interval 0.4 to 4.1)`."""
    d = as_difference(found, judged)
    if d.difference is None:
        return UNDEFINED
    own, _, interval = d.interval.partition(" (")
    unit = unit_of(judged)[1]
    return f"{own} {unit}" + (f" (95 % interval {interval}" if interval else ", without an interval")


def gain_sentence(card: Card) -> str:
    """The declared comparison in words: how much, of what, on whom, and what could have been seen."""
    judged, gain = card.by, card.gain
    if gain.difference is None:
        return f"Calibrated minus default, {judged.title}: undefined, on {patients(gain.patients)} never seen."
    better = "" if judged.higher_is_better else ", where lower is better"
    return (
        f"Calibrated minus default, {judged.title}{better}: {difference_in_words(gain, judged)}, on "
        f"{patients(gain.patients)} who neither trained nor chose.{_detectable(gain, judged)}"
    )


def _detectable(found: Comparison, judged: Judged) -> str:
    seen = as_difference(found, judged).minimum_detectable
    if seen is None:
        return ""
    return f" With so many patients a true difference of {seen:.1f} {unit_of(judged)[1]} is found with 80 % power."


def moved_headline(card: Card) -> str:
    """Whether a decision moved afterwards does as well as training anew, by the one that comes nearest or leads."""
    if not card.later:
        return "No moved decision was tried."
    better = [found for found in card.later if found.verdict == "worse"]  # verdicts are about the calibrated weights
    if better:
        best = min(better, key=lambda found: _lead(found, card.by))
        return (
            f"Yes, and better: {best.against} does better than the calibrated weights, without training anew "
            f"({_calibrated_minus(best, card.by)})."
        )
    level = [found for found in card.later if found.verdict != "better" and _may_be_zero(found)]
    if not level:
        nearest = min(card.later, key=lambda found: _lead(found, card.by))
        start = f"{nearest.against} comes nearest ({_calibrated_minus(nearest, card.by)})"
        if all(found.verdict == "better" for found in card.later):
            return f"No: the calibrated weights do better than every decision moved afterwards; {start}."
        return f"Probably not: {start}, though after Holm's correction not every lead is decided."
    known = [found for found in level if found.low is not None]
    if not known:
        return f"{patients(card.gain.patients)} are too few to tell."
    nearest = min(known, key=lambda found: _lead(found, card.by))
    told = f"({_calibrated_minus(nearest, card.by)})"
    if _lead(nearest, card.by) <= 0:
        return (
            f"Yes, as far as {patients(nearest.patients)} can tell: {nearest.against} does as well as the calibrated "
            f"weights, without training anew {told}."
        )
    return (
        f"It may: {nearest.against}, without training anew, cannot be told from the calibrated weights on "
        f"{patients(nearest.patients)} {told}."
    )


def moved_details(card: Card) -> list[str]:
    """Each moved decision against the calibrated weights."""
    told = {
        "better": "the calibrated weights are better.",
        "worse": "the moved decision is better.",
        "too few": "too few patients to tell.",
    }
    lines = []
    for found in card.later:
        if found.verdict != "undecided":
            ending = told[found.verdict]
        elif _may_be_zero(found):
            ending = f"not to be told apart.{_detectable(found, card.by)}"
        else:
            leads = "calibrated weights lead" if _lead(found, card.by) > 0 else "moved decision leads"
            ending = f"the {leads}, but after Holm's correction that is undecided."
        lines.append(f"Calibrated minus {found.against}: {difference_in_words(found, card.by)}; {ending}")
    return lines


def _lead(found: Comparison, judged: Judged) -> float:
    """Of the calibrated weights, larger is better for them; undefined counts as far ahead."""
    if found.difference is None:
        return math.inf
    return found.difference if judged.higher_is_better else -found.difference


def _may_be_zero(found: Comparison) -> bool:
    """Whether no difference at all lies in the interval, or there is none."""
    return found.low is None or found.high is None or found.low <= 0 <= found.high


def _calibrated_minus(found: Comparison, judged: Judged) -> str:
    d = as_difference(found, judged)
    interval = d.interval.partition(" (")[2].removesuffix(")")
    own = d.interval.partition(" (")[0]
    return f"calibrated minus it: {own} {unit_of(judged)[1]}" + (f", 95 % interval {interval}" if interval else "")


def bound_costs(card: Card) -> list[str]:
    """What the shift of one organ's offset does to that organ and to each of the others, in words."""
    if card.bound is None:
        return []
    told = []
    for change in card.bound.changes:
        own = change.organ == card.bound.organ
        parts = []
        if change.iou_before is not None and change.iou_after is not None:
            parts.append(f"IoU {_points(change.iou_after - change.iou_before)} points")
        for word, before, after in (
            ("missed", change.missed_ml_before, change.missed_ml_after),
            ("spilled", change.spilled_ml_before, change.spilled_ml_after),
        ):
            if before is not None and after is not None:
                parts.append(f"{word} {before:.1f} → {after:.1f} ml")
        start = "The organ itself" if own else "The price"
        told.append(f"{start}, {organ_title(change.organ)}: {'; '.join(parts) or UNDEFINED}.")
    return told


def costs(card: Card) -> list[tuple[str, str]]:
    """Headed sentences: what was trained for what, and how long it took."""
    cost = card.cost
    share = 100 * cost.share_of_full_grid
    return [
        (
            "Choosing",
            f"{cost.strategy_epochs} epochs by strategy {cost.strategy}: {share:.0f} % of the "
            f"{cost.full_grid_epochs} epochs of a full grid of the same values.",
        ),
        ("Moved decisions", f"{cost.decided_later_epochs} further epochs for the networks whose decisions are moved."),
        ("Judging", f"{cost.outer_epochs} epochs: the calibrated weights and all rivals on the outer folds."),
        ("Time", f"{cost.hours:g} hours of one worker, scoring included."),
    ]


def data_facts(card: Card) -> list[tuple[str, str]]:
    """Headed sentences: which patients, by which hash, and how they were dealt."""
    data = card.data
    lines = [
        (
            "Data",
            f"{data.dataset}, {', '.join(data.sequences) or 'one sequence'}: {data.cases} cases of "
            f"{patients(data.patients)}.",
        ),
        ("Hash of the data", data.hash),
        ("Objective", card.objective.title + ("" if card.objective.higher_is_better else ", lower is better") + "."),
    ]
    lines += [
        (f"Outer fold {fold.fold}", f"trained and chose on {_members(fold.train)}; judged on {_members(fold.test)}.")
        for fold in card.folds
    ]
    if data.bound_patients:
        lines.append(("Set aside for the bound", _members(data.bound_patients) + "."))
    lines += [("Precision", card.precision), ("Steelyard", card.steelyard)]
    return [*lines, ("Commit", card.commit)] if card.commit else lines


def toml_of(card: Card) -> str:
    """The recommended loss for a study's TOML."""
    options = card.loss.options
    if not options:
        return f'[grid]\nloss = ["{card.loss.name}"]'
    return f"[grid]\nloss = [{_toml({'name': card.loss.name, **options})}]"


def python_of(card: Card) -> str:
    """The recommended loss in Python."""
    options = ", ".join(f"{key}={value!r}" for key, value in card.loss.options.items() if value is not None)
    return f'from steelyard import LOSSES\n\nloss = LOSSES["{card.loss.name}"]({options})   # loss(logits, target)'


def patients(count: int) -> str:
    """`1 patient`, `9 patients`."""
    return f"{count} patient{'' if count == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share as `9.1 %`."""
    return UNDEFINED if share is None else f"{100 * share:.1f} %"


def is_default(r: float) -> bool:
    """Whether r charges a miss as much as a spill."""
    return abs(r - EQUAL_R) < 1e-9


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(own)}" for key, own in value.items() if own is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _members(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})"
