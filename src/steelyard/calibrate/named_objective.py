"""[calibrate] objective becomes an object here: a name with its options, organs by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steelyard.calibrate.objective import Cost, LeastSpill, MeanIndex, Objective, VolumeBias
from steelyard.errors import BadSpec, unknown_name
from steelyard.labels import LabelSet
from steelyard.study.spec import Part

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "iou": (),
    "dice": (),
    "recall": ("organ", "at_least"),
    "cost": ("fn_per_ml", "fp_per_ml"),
    "volume_bias": ("within_ml",),
}


def objective_of(part: Part, label_set: LabelSet) -> Objective:
    """The objective of that name.

    Raises:
        BadSpec: an unknown name, an option too many or too few, an organ that is not there, or a number out of range.
    """
    name, given = part.name, part.options
    if name not in OPTIONS:
        raise BadSpec(f"[calibrate] {unknown_name('objective', name, OPTIONS)}")
    if set(given) != set(OPTIONS[name]):
        wanted = ", ".join(OPTIONS[name]) or "no option"
        raise BadSpec(f"[calibrate] objective {name!r} takes {wanted}; came {', '.join(given) or 'none'}.")
    numbers = {key: _number(name, key, value) for key, value in given.items() if key != "organ"}
    builders: dict[str, Callable[[], Objective]] = {
        "iou": lambda: MeanIndex("iou"),
        "dice": lambda: MeanIndex("dice"),
        "recall": lambda: LeastSpill(_organ(label_set, given["organ"]), numbers["at_least"]),
        "cost": lambda: Cost(**numbers),
        "volume_bias": lambda: VolumeBias(**numbers),
    }
    return builders[name]()


def _number(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadSpec(f"[calibrate] objective {name!r}: {key} must be a number; came {value!r}.")
    return float(value)


def _organ(label_set: LabelSet, name: Any) -> int:
    known = label_set.class_names[1:]
    if name not in known:
        raise BadSpec(f"[calibrate] objective 'recall': {unknown_name('organ', str(name), known)}")
    return label_set.organ(name).index
