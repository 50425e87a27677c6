"""What a front says in words: whether trained weights dominate a moved decision, or only move along its curve."""

from __future__ import annotations

from typing import Literal

from steelyard.report.card_content import AgainstSweep, Card, OrganFront, organ_title
from steelyard.report.card_words import is_default, ratio

SAME_SHARE = 0.05  # two spilled volumes no further apart than this share of the larger are called the same
SAME_ML = 0.1  # and so are two this near, a few voxels: a twentieth of hardly anything is nothing

Place = Literal["dominates", "along", "dominated", "beyond", "undefined"]


def place(found: AgainstSweep) -> Place:
    """Where weights lie beside a sweep: below it (they dominate), on it, above it, or where it never comes."""
    if found.spilled_ml is None or found.missed_ml is None:
        return "undefined"
    if found.spilled_ml_on_sweep is None:
        return "beyond"
    difference = found.spilled_ml - found.spilled_ml_on_sweep
    if abs(difference) <= max(SAME_SHARE * max(found.spilled_ml, found.spilled_ml_on_sweep), SAME_ML):
        return "along"
    return "dominates" if difference < 0 else "dominated"


def front_sentences(card: Card, front: OrganFront) -> list[str]:
    """The chosen weights against each sweep, then all trained weights against each."""
    organ = organ_title(front.organ)
    if not has_organ(front):
        return [f"No patient of the inner folds has the {organ}: nothing of it can be missed, and there is no front."]
    if not front.weights:
        return [f"No weights were trained in full in every outer fold, so that none can be shown for the {organ}."]
    told = [_chosen_sentence(card, front, organ, title, found) for title, found in front.against_sweeps.items()] or [
        f"The chosen r = {ratio(front.chosen_r)} was not trained in full in every outer fold: it has no mark here."
    ]
    return told + [found for title in front.sweeps if (found := _all_sentence(front, title))]


def front_headline(card: Card) -> str:
    """Over all organs, what the chosen weights are beside the best of the moved decisions; empty without a front."""
    kinds: dict[str, list[str]] = {}
    for front in card.front:
        places = [place(found) for found in front.against_sweeps.values()]
        if not has_organ(front) or not places or "undefined" in places:
            continue
        own = (
            "stay at the default" if is_default(front.chosen_r)
            else "do not dominate" if "dominated" in places
            else "only move along the curve" if "along" in places
            else "dominate every moved decision" if "dominates" in places
            else "miss what no moved decision does"
        )  # fmt: skip
        kinds.setdefault(own, []).append(organ_title(front.organ))
    if not kinds:
        return ""
    told = "; ".join(
        f"{own} for {'every organ' if len(organs) == len(card.organs) > 1 else 'the ' + ', '.join(organs)}"
        for own, organs in kinds.items()
    )
    return f"Beside a moved decision that misses as much, the chosen weights {told}."


def missing_weights(card: Card) -> list[str]:
    """Candidates without a mark, and why: given up in some fold, or never tried in it."""
    shown = {weight.label for front in card.front for weight in front.weights}
    reasons: dict[str, list[str]] = {}
    folds = [fold.fold for fold in card.folds]
    tried: dict[str, list[int]] = {}
    for fold in card.folds:
        for trial in fold.trials:
            tried.setdefault(trial.label, []).append(fold.fold)
            if trial.given_up:
                reasons.setdefault(trial.label, []).append(
                    f"given up in fold {fold.fold} after {trial.epochs} epochs, {trial.given_up}"
                )
    for label, where in tried.items():
        absent = [str(fold) for fold in folds if fold not in where]
        if absent:
            reasons.setdefault(label, []).append(f"not tried in fold{'s'[: len(absent) - 1]} {', '.join(absent)}")
    return [
        f"{label}: {'; '.join(reasons.get(label, ['not in every fold']))}." for label in tried if label not in shown
    ]


def shorter_than_full(card: Card) -> int | None:
    """Epochs of the trained weights where they are fewer than those of the networks that are swept; else None."""
    seen = [trial.epochs for fold in card.folds for trial in fold.trials if trial.given_up is None]
    if not seen or card.epochs is None or max(seen) >= card.epochs:
        return None
    return max(seen)


def has_organ(front: OrganFront) -> bool:
    """Whether any patient has it: a decision moved far enough against an organ misses all there is."""
    missed = [p.missed_ml for curve in front.sweeps.values() for p in curve] + [w.missed_ml for w in front.weights]
    return any(value for value in missed)


def _chosen_sentence(card: Card, front: OrganFront, organ: str, title: str, found: AgainstSweep) -> str:
    r = f"r = {ratio(front.chosen_r)}"
    if title == card.default and is_default(front.chosen_r):
        return f"{r} is the default network itself: it lies on its own sweep, at offset 0."
    where = place(found)
    if where == "undefined":
        return f"What {r} misses and spills of the {organ} is undefined."
    start = f"At the {organ} volume that {r} misses ({found.missed_ml:.1f} ml) it spills {found.spilled_ml:.1f} ml; "
    if where == "beyond":
        return f"{start}moving the decision of the {title} network never misses just that volume."
    start += f"moving the decision of the {title} network spills {found.spilled_ml_on_sweep:.1f} ml: "
    return (
        start
        + {
            "dominates": "weighting dominates here, since it spills less at the same miss.",
            "along": "weighting only moves along the curve.",
            "dominated": "weighting does not dominate, since the moved decision spills less at the same miss.",
        }[where]
    )


def _all_sentence(front: OrganFront, title: str) -> str:
    """Of how many trained weights the sweep is worse, equal, better; empty where the card does not say."""
    places = [place(weight.against_sweeps[title]) for weight in front.weights if title in weight.against_sweeps]
    if not places:
        return ""
    counts = {where: places.count(where) for where in ("dominates", "along", "dominated")}
    beyond = len(places) - sum(counts.values())
    rest = f", beyond its ends: {beyond}" if beyond else ""
    return (
        f"Of all {len(places)} trained weights, below the sweep of {title} (better): {counts['dominates']}, on it: "
        f"{counts['along']}, above it (worse): {counts['dominated']}{rest}."
    )
