"""The decision that maximises an overlap index of a calibrated network: one threshold and one slope per organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEFT_OUT = (0.0, 1.0)  # slope and threshold of a class that never wins


@dataclass(frozen=True)
class OptimalRule:
    """argmax (0, a_c (p_c − t_c)): slopes a_c ≥ 0 and thresholds t_c per class, background first.

    The background is left out of the index: it scores 0 whatever its slope and threshold, and wins where no organ
    scores above 0. The lower class index wins a tie.

    Raises:
        ValueError: unequal lengths, a slope below 0, or a threshold outside 0–1.
    """

    slopes: tuple[float, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        slopes, thresholds = np.asarray(self.slopes), np.asarray(self.thresholds)
        if not slopes.size or slopes.shape != thresholds.shape:
            raise ValueError(f"one slope and one threshold per class are needed; came {self.slopes}, {self.thresholds}")
        if not (
            np.isfinite(slopes).all() and (slopes >= 0).all() and (thresholds >= 0).all() and (thresholds <= 1).all()
        ):
            raise ValueError(f"slopes must be 0 or more, thresholds in 0–1; came {self.slopes}, {self.thresholds}")

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The class of every voxel (*space), uint8, of probabilities (class, *space)."""
        if len(probabilities) != len(self.slopes):
            raise ValueError(f"{len(self.slopes)} slopes do not fit {len(probabilities)} classes")
        best = np.zeros(probabilities.shape[1:], np.float64)
        decided = np.zeros(probabilities.shape[1:], np.uint8)
        for class_index in range(1, len(self.slopes)):
            score = probabilities[class_index].astype(np.float64) - self.thresholds[class_index]
            score *= self.slopes[class_index]
            decided[score > best] = class_index
            np.maximum(best, score, out=best)
        return decided

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; `from_json` reads them back."""
        return {"rule": "optimal", "slopes": list(self.slopes), "thresholds": list(self.thresholds)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> OptimalRule:
        """The rule that `as_json` wrote.

        Raises:
            ValueError: another rule, or values that no rule may have.
        """
        if found.get("rule") != "optimal":
            raise ValueError(f"the rule 'optimal' was wanted; came {found.get('rule')!r}")
        return cls(tuple(float(a) for a in found["slopes"]), tuple(float(t) for t in found["thresholds"]))
