"""The decision card: one JSON file with what was chosen, how it was proved, what it cost, and what it does not show."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from steelyard.calibrate import warm
from steelyard.calibrate.bench import Bench
from steelyard.calibrate.judge import Comparison
from steelyard.calibrate.objective import Objective
from steelyard.calibrate.outcome import CHOSEN, Outcome
from steelyard.calibrate.prices import Prices, weights
from steelyard.calibrate.read_card import KIND, SCHEMA
from steelyard.calibrate.tally import Tally, defined_mean
from steelyard.confusion import iou, sensitivity
from steelyard.study.manifest import commit
from steelyard.study.plan import public_spec
from steelyard.study.spec import Part

FEW_PATIENTS = 10
DEMAND_UNITS = {"LeastSpill": "", "VolumeBias": "ml"}  # of `demand_of_patients`


def recommended(bench: Bench, outcome: Outcome) -> Part:
    """The chosen weights where the verdict is to change, else the default."""
    return bench.loss(outcome.final) if outcome.judgement.decision == "change" else bench.default


def card_content(bench: Bench, outcome: Outcome, bound: dict[str, Any] | None) -> dict[str, Any]:
    """The card, JSON-able; no patient's name, the data's root as the study wrote it."""
    spec, label_set, objective = bench.base.spec, bench.label_set, bench.objective
    judgement = outcome.judgement
    organs = [organ.name for organ in label_set.organs]
    keys = bench.nested.others
    judged = _judged_json(outcome.judged_by, objective)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "study": spec.study.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "steelyard": version("steelyard"),
        "commit": commit(),
        "decision": judgement.decision,
        "reason": judgement.reason,
        "loss": recommended(bench, outcome).model_dump(),
        "chosen": _prices_json(outcome.final, organs) | {"loss": bench.loss(outcome.final).model_dump()},
        "default": bench.default.title,
        "classes": list(label_set.class_names),
        "label_set": {"organs": [asdict(organ) for organ in label_set.organs]},
        "objective": {
            "title": objective.title,
            "unit": objective.unit,
            "higher_is_better": objective.higher_is_better,
        },
        "judged_by": outcome.judged_by,
        "judged": judged,
        "gain": asdict(judgement.against_default),
        "rivals": [asdict(comparison) for comparison in judgement.against_rivals],
        "later": _later_sentence(outcome, higher_is_better=judged["higher_is_better"]),
        "methods": [_method_json(title, tally, objective, organs) for title, tally in outcome.methods.items()],
        "patients": list(outcome.methods[CHOSEN].patients),
        "folds": [
            {
                "fold": index,
                "chosen": _prices_json(outcome.chosen[index], organs),
                "train": sorted({key.patient_id for key in fold.outer.train}),
                "test": sorted({key.patient_id for key in fold.outer.test}),
                "trials": [
                    {"label": trial.prices.label, "ratios": list(trial.prices.ratios)}
                    | {"epochs": trial.epochs}
                    | _merit_json(trial.merit)
                    | {"given_up": trial.given_up}
                    for trial in outcome.trials[index].trials
                ],
                "rules": [{"title": decided.title, **decided.rule.as_json()} for decided in outcome.later[index]],
                "notes": list(outcome.trials[index].notes),
            }
            for fold in bench.nested.folds
            for index in [fold.outer.index]
        ],
        "front": outcome.front,
        "bound": _strict(bound),
        "cost": outcome.cost,
        "data": {
            "dataset": spec.data.dataset,
            "sequences": list(spec.data.sequences),
            "hash": bench.base.hash_of(keys + bench.nested.bound),
            "cases": len(keys),
            "patients": len({key.patient_id for key in keys}),
            "bound_patients": sorted({key.patient_id for key in bench.nested.bound}),
        },
        "limits": limits(bench, outcome),
        "precision": bench.base.precision,
        "spec": public_spec(spec),
    }


def limits(bench: Bench, outcome: Outcome) -> list[str]:
    """What a reader must not take from the card."""
    spec, patients = bench.base.spec, len(outcome.methods[CHOSEN].patients)
    found = [
        f"Judged on {patients} patients of {spec.data.dataset}, {', '.join(spec.data.sequences)}, by one network, "
        f"{spec.grid.network[0].title}, at {spec.preprocess.size} pixels and {bench.epochs} epochs: other data, "
        "networks or schedules may want other weights."
    ]
    found += [f"{title} is missing: {reason}." for title, reason in outcome.lost.items()]
    if patients < FEW_PATIENTS:
        found.append(f"{patients} patients are few: only large gains can be told from noise.")
    if len(bench.seeds) == 1:
        found.append("One seed: part of every difference is due to starting weights.")
    if spec.folds.use is not None:
        found.append(f"Only {len(spec.folds.use)} of {spec.folds.count} outer folds were carried out.")
    if bench.table.per_organ and bench.table.strategy != "search":
        found.append(
            "Weights per organ were put together from trainings with one r for all organs, as if organs did not affect "
            "one another; the outer folds trained what was put together."
        )
    if bench.table.strategy == "warm":
        found.append(
            f"On the front weights are branches of {warm.stretches(bench.epochs)[1]} of {bench.epochs} epochs, and "
            "sweeps full trainings: a weight may lie above a sweep only for having been trained less."
        )
    if bench.table.strategy == "search":
        found.append("The weights on this card are the middle of the folds' choices.")
    if bench.table.strategy != "grid":
        how = {"search": "part of their epochs", "warm": "short branches from one start"}[bench.table.strategy]
        found.append(f"Most candidates were judged by {how}, not by full trainings.")
    found.append(
        "The gain is that of the whole procedure, whose choice may differ from fold to fold; the weights on this card "
        "are the procedure's choice from all patients, and were not judged as such."
    )
    return found


def _method_json(title: str, tally: Tally, objective: Objective, organs: list[str]) -> dict[str, Any]:
    """Means over patients: the objective, and each organ's IoU, sensitivity, and ml missed and spilled."""
    of_organs: dict[str, dict[str, float | None]] = {}
    columns = {
        "iou": iou(tally.counts),
        "sensitivity": sensitivity(tally.counts),
        "missed_ml": tally.missed_ml,
        "spilled_ml": tally.spilled_ml,
    }
    for name, values in columns.items():
        means = defined_mean(tally.patient_means(values.astype(float)), 0)
        for index, organ in enumerate(organs, 1):
            of_organs.setdefault(organ, {})[name] = _known(means[index])
    values = objective.of_patients(tally)
    return {
        "title": title,
        "value": _known(defined_mean(values, 0)),
        "shortfall": _plus(-objective.merit(tally)[0]),
        "of_patients": [_known(value) for value in values],
        "organs": of_organs,
    }


def _judged_json(judged_by: str, objective: Objective) -> dict[str, Any]:
    """The quantity of all comparisons: the objective's value, or how well its demand is met, where more is better."""
    if judged_by == objective.title:
        return {"title": judged_by, "unit": objective.unit, "higher_is_better": objective.higher_is_better}
    return {"title": judged_by, "unit": DEMAND_UNITS[type(objective).__name__], "higher_is_better": True}


def _merit_json(merit: tuple[float, float] | None) -> dict[str, float | None]:
    if merit is None:
        return {"shortfall": None, "value": None}
    return {"shortfall": _plus(-merit[0]), "value": _known(merit[1])}


def _prices_json(prices: Prices, organs: list[str]) -> dict[str, Any]:
    """r per organ, and the weights that follow from it."""
    ratios = {organ: prices.of_organ(position) for position, organ in enumerate(organs)}
    pairs = {organ: dict(zip(("fp_weight", "fn_weight"), weights(r), strict=True)) for organ, r in ratios.items()}
    return {"label": prices.label, "per_organ": prices.per_organ, "r": ratios, "weights": pairs}


def _later_sentence(outcome: Outcome, *, higher_is_better: bool) -> str:
    """Which decisions moved afterwards the calibrated weights do not lead, by the interval of each alone."""
    titles = {decided.title for of_fold in outcome.later.values() for decided in of_fold}
    found = [comparison for comparison in outcome.judgement.against_rivals if comparison.against in titles]
    if not found:
        return "No decision moved afterwards could be compared."
    level = [comparison for comparison in found if not _leads(comparison, higher_is_better=higher_is_better)]
    if not level:
        return "The calibrated weights lead every decision moved afterwards, by the 95 % interval of each."
    names = "; ".join(f"{comparison.against} ({_difference(comparison)})" for comparison in level)
    return (
        "Training anew is not seen to do better than moving the decision afterwards: calibrated minus moved, where the "
        f"95 % interval leaves that open, {names}."
    )


def _leads(found: Comparison, *, higher_is_better: bool) -> bool:
    """Whether the whole interval is on the calibrated weights' side of 0."""
    if found.low is None or found.high is None:
        return False
    return found.low > 0 if higher_is_better else found.high < 0


def _difference(found: Comparison) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return "undefined"
    return f"{found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}"


def _strict(value: Any) -> Any:
    """Without NaN, which JSON does not know: undefined is null."""
    if isinstance(value, dict):
        return {key: _strict(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_strict(own) for own in value]
    return _known(value) if isinstance(value, float) else value


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plus(value: float) -> float:
    """Without the sign that −0 has."""
    return value + 0.0
