"""A small decision card, complete, with numbers chosen by hand and unlike each other."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

PATIENTS = ["mr-01", "mr-02", "mr-03", "mr-05", "mr-08", "mr-10", "mr-13"]
SWEPT = {  # offset → (missed ml, spilled ml) of the liver
    "cross_entropy": [(-2.0, 60.0, 4.0), (-1.0, 30.0, 10.0), (0.0, 20.0, 16.0), (1.0, 10.0, 32.0), (2.0, 5.0, 90.0)],
    "iou11": [(-2.0, 50.0, 5.0), (-1.0, 28.0, 11.0), (0.0, 18.0, 19.0), (1.0, 11.0, 30.0), (2.0, 7.0, 70.0)],
}


def comparison(
    against: str, difference: float | None, low: float, high: float, verdict: str, p: float
) -> dict[str, Any]:
    """A method under 0.8 on average that the calibrated weights are held against."""
    return {
        "against": against,
        "patients": len(PATIENTS),
        "mean_chosen": 0.8125,
        "mean_other": None if difference is None else 0.8125 - difference,
        "difference": difference,
        "low": None if difference is None else low,
        "high": None if difference is None else high,
        "p_holm": None if difference is None else p,
        "minimum_detectable": None if difference is None else 0.0217,
        "verdict": verdict,
    }


def prices(liver: float, kidney: float) -> dict[str, Any]:
    """Chosen r, and the weights that follow."""
    ratios = {"liver": liver, "left_kidney": kidney}
    weights = {o: {"fp_weight": round(2 * (1 - r), 9), "fn_weight": round(2 * r, 9)} for o, r in ratios.items()}
    return {
        "label": f"r = {liver:g}, {kidney:g}".replace("0.", "."),
        "per_organ": True,
        "r": ratios,
        "weights": weights,
    }


def method(title: str, value: float, liver: tuple[float, ...], kidney: tuple[float | None, ...]) -> dict[str, Any]:
    """Organs as (IoU, sensitivity, missed ml, spilled ml)."""
    names = ("iou", "sensitivity", "missed_ml", "spilled_ml")
    return {
        "title": title,
        "value": value,
        "shortfall": 0.0,
        "of_patients": [round(value + 0.01 * step, 4) for step in range(-3, 4)],
        "organs": {"liver": dict(zip(names, liver, strict=True)), "left_kidney": dict(zip(names, kidney, strict=True))},
    }


def fold(number: int, liver: float, test: list[str]) -> dict[str, Any]:
    trial = {"label": "r = .75, .75", "ratios": [0.75, 0.75], "epochs": 12, "shortfall": 0.0, "value": 0.7913}
    other = {"label": "r = .5, .5", "ratios": [0.5, 0.5], "epochs": 12, "shortfall": 0.0, "value": 0.7744}
    lost = {"label": "r = .25, .25", "ratios": [0.25, 0.25], "epochs": 2, "shortfall": 0.0, "value": None}
    return {
        "fold": number,
        "chosen": prices(liver, 0.5),
        "train": [patient for patient in PATIENTS if patient not in test],
        "test": test,
        "trials": [
            trial | {"given_up": None},
            other | {"given_up": None},
            lost | {"given_up": "not among the best 2 of 3"},
        ],
        "rules": [
            {"title": "cross_entropy, offsets", "rule": "offsets", "values": [0.0, 0.37 + number, -0.11]},
            {"title": "cross_entropy, optimal", "rule": "optimal", "slopes": [0, 2, 3], "thresholds": [0, 0.43, 0.46]},
        ],
        "notes": ["the budget ended the search before 4 further proposals"] if number else [],
    }


def front(organ: str, chosen_r: float, shrink: float) -> dict[str, Any]:
    """Marks at (12, 23) and (18, 19) ml for the liver, all volumes times `shrink`."""

    def against(missed: float, spilled: float, on_sweep: dict[str, float | None]) -> dict[str, Any]:
        own = {"missed_ml": missed * shrink, "spilled_ml": spilled * shrink}
        swept = {title: None if value is None else value * shrink for title, value in on_sweep.items()}
        return own | {"against_sweeps": {title: own | {"spilled_ml_on_sweep": v} for title, v in swept.items()}}

    chosen = against(12.0, 23.0, {"cross_entropy": 28.8, "iou11": 28.43})
    default = against(18.0, 19.0, {"cross_entropy": 19.2, "iou11": 19.0})
    weights = [{"label": "r = .75, .75", "r": 0.75} | chosen, {"label": "r = .5, .5", "r": 0.5} | default]
    names = ("offset", "missed_ml", "spilled_ml")
    own = next(weight for weight in weights if weight["r"] == chosen_r)
    return {
        "organ": organ,
        "chosen_r": chosen_r,
        "weights": weights,
        "sweeps": {
            title: [dict(zip(names, (o, m * shrink, s * shrink), strict=True)) for o, m, s in curve]
            for title, curve in SWEPT.items()
        },
        "against_sweeps": own["against_sweeps"],
    }


CARD: dict[str, Any] = {
    "schema": 1,
    "kind": "calibration card",
    "study": "small",
    "made": "2025-03-04T05:06:07+00:00",
    "steelyard": "0.1.0",
    "commit": "0123abc",
    "decision": "change",
    "reason": "the gain over the default on patients never seen is more than noise.",
    "loss": {"name": "tversky", "fp_weight": [1.0, 0.5, 1.0], "fn_weight": [1.0, 1.5, 1.0]},
    "chosen": prices(0.75, 0.5),
    "default": "iou11",
    "classes": ["background", "liver", "left_kidney"],
    "objective": {"title": "mean IoU", "unit": "", "higher_is_better": True},
    "judged_by": "mean IoU",
    "judged": {"title": "mean IoU", "unit": "", "higher_is_better": True},
    "gain": comparison("iou11", 0.0313, 0.0092, 0.0541, "better", 0.0234),
    "rivals": [
        comparison("crossE", 0.0457, 0.0211, 0.0689, "better", 0.0123),
        comparison("cross_entropy, offsets", 0.0038, -0.0144, 0.0226, "undecided", 0.8),
        comparison("cross_entropy, optimal", -0.0261, -0.0453, -0.0072, "worse", 0.0345),
    ],
    "later": "A decision moved afterwards does as well.",
    "methods": [
        method("calibrated", 0.8125, (0.861, 0.923, 61.5, 33.25), (0.764, 0.871, 7.5, 8.75)),
        method("iou11", 0.7812, (0.842, 0.881, 82.5, 21.75), (0.721, None, None, 9.25)),
        method("crossE", 0.7668, (0.833, 0.912, 71.5, 45.75), (0.702, 0.843, 11.5, 10.25)),
        method("cross_entropy, offsets", 0.8087, (0.857, 0.915, 66.5, 31.25), (0.759, 0.862, 8.5, 7.75)),
        method("cross_entropy, optimal", 0.8386, (0.877, 0.934, 57.5, 29.25), (0.797, 0.887, 6.5, 6.75)),
    ],
    "patients": PATIENTS,
    "folds": [fold(0, 0.75, PATIENTS[:4]), fold(1, 0.5, PATIENTS[4:])],
    "front": [front("liver", 0.75, 1.0), front("left_kidney", 0.5, 0.125)],
    "bound": {
        "organ": "liver",
        "max_miss": 0.15,
        "offset": -0.345,
        "offsets": [0.0, -0.345, 0.0],
        "patients": 9,
        "smallest_certifiable": 0.1,
        "miss_before": 0.0432,
        "miss_after": 0.0555,
        "promise": "On average over new patients like these 9, at most 15 % of the liver's voxels are missed.",
        "run": "net-tversky-f0-s1-0a1b2c3d",
        "changes": [
            {"organ_index": 1, "organ": "liver", "iou_before": 0.87, "iou_after": 0.883, "missed_ml_before": 51.25}
            | {"missed_ml_after": 64.25, "spilled_ml_before": 41.75, "spilled_ml_after": 22.25},
            {"organ_index": 2, "organ": "left_kidney", "iou_before": None, "iou_after": 0.777, "missed_ml_before": 4.25}
            | {"missed_ml_after": 4.75, "spilled_ml_before": 3.75, "spilled_ml_after": 3.25},
        ],
    },
    "cost": {
        "strategy": "search",
        "strategy_epochs": 104,
        "full_grid_epochs": 288,
        "share_of_full_grid": 104 / 288,
        "decided_later_epochs": 96,
        "outer_epochs": 84,
        "hours": 1.37,
    },
    "data": {
        "dataset": "chaos",
        "sequences": ["t1_in", "t2_spir"],
        "hash": "feedbeefcafe",
        "cases": 14,
        "patients": 16,
        "bound_patients": ["mr-15", "mr-19"],
    },
    "limits": ["Judged on 7 patients of chaos.", "7 patients are few."],
    "precision": "fp32",
    "spec": {"train": {"epochs": 12}},
}


def card(**changes: Any) -> dict[str, Any]:
    """The card with other values of its own keys."""
    return copy.deepcopy(CARD) | changes


def write_card(folder: Path, **changes: Any) -> Path:
    """The same as a file."""
    path = folder / "card.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card(**changes)), encoding="utf-8")
    return path
