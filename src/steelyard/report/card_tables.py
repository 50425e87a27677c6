"""The tables of a decision card: chosen weights, methods, moved decisions, the front in numbers, the bound, trials."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.report.card_content import Card, FoldChoice, Method, OrganFront, Rule, organ_title
from steelyard.report.card_words import UNDEFINED, is_default, ratio, unit_of
from steelyard.report.table import Cell, Header, Row, Section, Table

LEAST_SHORTFALL = 1e-9
VOLUMES = {"missed_ml": "missed", "spilled_ml": "spilled"}


def chosen_table(card: Card) -> Table:
    """r and weights per organ, and what each outer fold chose for itself."""
    rows = []
    shown = list(card.chosen.r) if card.chosen.per_organ else list(card.chosen.r)[:1]
    for organ in shown:
        r, own = card.chosen.r[organ], card.chosen.weights[organ]
        folds = ", ".join(ratio(fold.chosen.r[organ]) for fold in card.folds if organ in fold.chosen.r)
        cells = (
            Cell(word=ratio(r), best=card.decision == "change"),
            Cell(own.fp_weight, 2),
            Cell(own.fn_weight, 2),
            Cell(word=_price(own.fp_weight, own.fn_weight)),
            Cell(word=folds or UNDEFINED),
        )
        rows.append(Row(Header(organ_title(organ) if card.chosen.per_organ else "every organ"), cells))
    if card.decision == "change":
        advice = ""
    elif all(map(is_default, card.chosen.r.values())):
        advice = " That is the default itself."
    else:
        advice = f" Not recommended: the verdict is to keep {card.default}."
    return Table(
        "chosen",
        f"What the procedure chooses from all {card.data.patients - len(card.data.bound_patients)} patients.{advice}",
        "organ",
        tuple(map(Header, ("r", "fp_weight", "fn_weight", "a miss costs", "r of the outer folds"))),
        (Section("", tuple(rows)),),
        (
            "r = fn_weight / (fp_weight + fn_weight), with fp_weight + fn_weight = 2: .5 charges a miss as much "
            "as a spill, more finds more and spills more. Each outer fold chose on its own training patients; "
            "where their r differ, the choice is not stable.",
        ),
    )


def methods_table(card: Card) -> Table:
    """The objective's value and each organ's IoU, per method, on outer patients."""
    demands = any((method.shortfall or 0) > LEAST_SHORTFALL for method in card.methods)
    unit = f" ({card.objective.unit})" if card.objective.unit == "ml" else ""
    columns = [Header(card.objective.title + unit)]
    columns += [Header("short of the demand by")] if demands else []
    columns += [Header(f"IoU, {organ_title(organ)}") for organ in card.organs]
    best = _best([method.value for method in card.methods], highest=card.objective.higher_is_better)
    if demands:  # values of methods that miss a demand do not compare
        best = set()
    ious = [_best([_mean(method, organ, "iou") for method in card.methods], highest=True) for organ in card.organs]
    rows = []
    for place, method in enumerate(card.methods):
        cells = [_number(method.value, _decimals(card), best=place in best)]
        cells += [_shortfall(method)] if demands else []
        cells += [
            _number(_mean(method, organ, "iou"), best=place in own)
            for organ, own in zip(card.organs, ious, strict=True)
        ]  # fmt: skip
        rows.append(Row(_method(card, method), tuple(cells)))
    note = "Means over patients, each patient once; the mean over organs is taken within a patient."
    note += "" if card.objective.higher_is_better else " Of the first column lower is better."
    return Table(
        "methods",
        f"Every method on the {len(card.patients)} outer patients, who neither trained nor chose.",
        "method",
        tuple(columns),
        (Section("", tuple(rows)),),
        (note,),
    )


def volumes_table(card: Card) -> Table:
    """Millilitres missed and spilled of each organ, per method."""
    columns = [Header(f"{organ_title(organ)}, {word}") for organ in card.organs for word in VOLUMES.values()]
    rows = [
        Row(
            _method(card, method),
            tuple(_number(_mean(method, organ, volume), 1) for organ in card.organs for volume in VOLUMES),
        )
        for method in card.methods
    ]
    return Table(
        "volumes",
        "What that means in volume: millilitres missed and spilled of each organ, means over the same patients.",
        "method",
        tuple(columns),
        (Section("", tuple(rows)),),
        ("No best is marked: whoever marks everything as organ misses nothing.",),
    )


def sensitivity_table(card: Card) -> Table:
    """Each organ's sensitivity, per method."""
    rows = [
        Row(_method(card, method), tuple(_number(_mean(method, organ, "sensitivity")) for organ in card.organs))
        for method in card.methods
    ]
    columns = tuple(Header(organ_title(organ)) for organ in card.organs)
    return Table(
        "sensitivity", "Sensitivity: the share of the organ found.", "method", columns, (Section("", tuple(rows)),)
    )


def rules_tables(card: Card) -> list[Table]:
    """The moved decisions that each outer fold fitted, offsets first."""
    tables = []
    columns = tuple(Header(organ_title(organ)) for organ in card.organs)
    shown = {
        "offsets": ("Offsets, added to an organ's log probability: above 0 finds more of it and spills more.", 2),
        "optimal": ("Optimal rule: thresholds of an organ's probability where no other organ is near.", 3),
    }
    for name, (caption, decimals) in shown.items():
        sections = []
        for title in card.later_titles:
            found = [(fold.fold, rule) for fold in card.folds for rule in fold.rules if rule.title == title]
            rows = [
                Row(Header(f"fold {fold}"), tuple(Cell(value, decimals) for value in _values(rule)))
                for fold, rule in found
                if rule.rule == name and len(_values(rule)) == len(card.organs)
            ]
            sections += [Section(title, tuple(rows))] if rows else []
        if sections:
            tables.append(Table(name, caption, "outer fold", columns, tuple(sections)))
    return tables


def front_table(front: OrganFront) -> Table | None:
    """Every trained weight beside the sweeps at the same missed volume; None without any."""
    if not front.weights:
        return None
    rows = []
    for weight in sorted(front.weights, key=lambda weight: weight.r):
        cells = [_number(weight.missed_ml, 1), _number(weight.spilled_ml, 1)]
        for title in front.sweeps:
            found = weight.against_sweeps.get(title)
            cells.append(Cell(None if found is None else found.spilled_ml_on_sweep, 1))
        rows.append(Row(Header(weight.label, "chosen" if weight.r == front.chosen_r else ""), tuple(cells)))
    return Table(
        f"front-{front.organ}",
        f"The front of the {organ_title(front.organ)} in numbers, means over patients of the inner folds, in ml.",
        "trained weights",
        (Header("missed"), Header("spilled"), *(Header(f"{t}, moved to the same miss: spills") for t in front.sweeps)),
        (Section("", tuple(rows)),),
        ("A dash: the sweep never misses just that volume, or the card does not say.",),
    )


def bound_table(card: Card) -> Table | None:
    """What the shift of one organ's offset does to every organ; None without a bound."""
    if card.bound is None:
        return None
    rows = []
    for change in card.bound.changes:
        own = "its offset is moved" if change.organ == card.bound.organ else ""
        cells = (
            _number(change.iou_before),
            _number(change.iou_after),
            _number(change.missed_ml_before, 1),
            _number(change.missed_ml_after, 1),
            _number(change.spilled_ml_before, 1),
            _number(change.spilled_ml_after, 1),
        )
        rows.append(Row(Header(organ_title(change.organ), own), cells))
    return Table(
        "bound",
        f"What the shift costs: means over the {card.bound.patients} patients set aside, before and after.",
        "organ",
        tuple(
            Header(f"{name}, {when}") for name in ("IoU", "missed (ml)", "spilled (ml)") for when in ("before", "after")
        ),
        (Section("", tuple(rows)),),
    )


def trials_table(card: Card, fold: FoldChoice) -> Table:
    """The candidates of one outer fold on its inner folds."""
    factor = 1.0 if card.objective.higher_is_better else -1.0  # a merit rises with what is better
    demands = any((trial.shortfall or 0) > LEAST_SHORTFALL for trial in fold.trials)
    rows = []
    for trial in fold.trials:
        cells = [Cell(trial.epochs, 0), _number(None if trial.value is None else factor * trial.value, _decimals(card))]
        cells += [_number(trial.shortfall, 3)] if demands else []
        cells.append(Cell(word=trial.given_up or "trained to the end"))
        rows.append(Row(Header(trial.label, "chosen" if trial.label == fold.chosen.label else ""), tuple(cells)))
    mixed = "" if fold.chosen.label in {trial.label for trial in fold.trials} else ", put together organ by organ"
    columns = ["epochs", card.objective.title, *(["short of the demand by"] if demands else []), "what became of it"]
    return Table(
        f"trials-{fold.fold}",
        f"Candidates of outer fold {fold.fold} on its inner folds. Chosen: {fold.chosen.label}{mixed}.",
        "weights",
        tuple(map(Header, columns)),
        (Section("", tuple(rows)),),
    )


def difference_table(card: Card) -> Table:
    """The comparisons in numbers."""
    factor, unit = unit_of(card.by)
    rows = []
    for found in (card.gain, *card.rivals):
        values = (found.difference, found.low, found.high, found.minimum_detectable)
        difference, low, high, seen = (None if value is None else factor * value for value in values)
        cells = (
            _number(found.mean_chosen, _decimals(card)),
            _number(found.mean_other, _decimals(card)),
            _number(difference, 1),
            _number(low, 1),
            _number(high, 1),
            _number(found.p_holm, 4),
            _number(seen, 1),
            Cell(found.patients, 0),
            Cell(word=found.verdict, best=found.verdict in ("better", "worse")),
        )
        rows.append(Row(Header(found.against, "declared" if found == card.gain else ""), cells))
    unit = f" ({unit})" if unit else ""
    columns = (
        "calibrated", "other", f"difference{unit}", "95 % from", "to", "p, Holm", f"detectable{unit}", "patients",
        "calibrated is",
    )  # fmt: skip
    return Table(
        "differences",
        f"Calibrated minus other, {card.by.title}, paired by patient.",
        "against",
        tuple(map(Header, columns)),
        (Section("", tuple(rows)),),
        (
            "Interval: studentised bootstrap over patients. p: the larger of Wilcoxon's signed ranks and the resampled "
            "mean; Holm's correction is over all comparisons but the declared one, which is a family of its own. "
            "Detectable: the true difference that a single test of so many patients finds with 80 % power.",
        ),
    )


def _method(card: Card, method: Method) -> Header:
    return Header(method.title, "the default" if method.title == card.default else "")


def _number(value: float | None, decimals: int = 3, *, best: bool = False) -> Cell:
    """A cell; undefined is said in a word, since a card's reader need not know the report's dash."""
    return Cell(word=UNDEFINED) if value is None else Cell(value, decimals, best=best)


def _price(fp_weight: float, fn_weight: float) -> str:
    if fp_weight == fn_weight:
        return "as much as a spill"
    if not fp_weight:
        return "everything"
    return f"{fn_weight / fp_weight:.2g} × a spill"


def _mean(method: Method, organ: str, name: str) -> float | None:
    own = method.organs.get(organ)
    return None if own is None else getattr(own, name)


def _best(values: Sequence[float | None], *, highest: bool) -> set[int]:
    known = [value for value in values if value is not None]
    if not known:
        return set()
    best = max(known) if highest else min(known)
    return {place for place, value in enumerate(values) if value == best}


def _decimals(card: Card) -> int:
    return 3 if card.objective.unit == "" else 1


def _shortfall(method: Method) -> Cell:
    if method.shortfall is not None and method.shortfall <= LEAST_SHORTFALL:
        return Cell(word="meets it")
    return _number(method.shortfall, 3)


def _values(rule: Rule) -> list[float]:
    """One per organ: the background's come first, and are left out."""
    return (rule.values if rule.rule == "offsets" else rule.thresholds)[1:]
