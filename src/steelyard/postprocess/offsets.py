"""A moved decision: every organ's log probability gets an offset before the largest wins.

An offset above 0 finds more of an organ and spills more of it; one below 0 does the reverse. The network stays as it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Offsets:
    """argmax_c (log p_c + b_c): one offset b_c per class, background first; the background's is 0.

    The lower class index wins a tie. A class with probability 0 never wins, whatever its offset, unless all are 0: then
    the background does. Only differences matter, so fixing the background at 0 loses nothing.

    >>> Offsets((0.0, 1.5, -0.2))(probabilities)  # (class, *space) → (*space), uint8

    Raises:
        ValueError: no offset, one that is not finite, or a background that is not 0.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or self.values[0] != 0 or not np.isfinite(self.values).all():
            raise ValueError(f"offsets must be finite and start with 0 for the background; came {self.values}")

    @classmethod
    def none(cls, class_count: int) -> Offsets:
        """All offsets 0: the most probable class."""
        return cls((0.0,) * class_count)

    def moved(self, class_index: int, offset: float) -> Offsets:
        """The same offsets but for one class."""
        values = list(self.values)
        values[class_index] = float(offset)
        return Offsets(tuple(values))

    @property
    def weights(self) -> np.ndarray:
        """e^b_c (class,): p_c e^b_c is largest where log p_c + b_c is, and needs no logarithm of 0."""
        return np.exp(np.asarray(self.values, np.float64))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The class of every voxel (*space), uint8, of probabilities (class, *space)."""
        if len(probabilities) != len(self.values):
            raise ValueError(f"{len(self.values)} offsets do not fit {len(probabilities)} classes")
        weights = self.weights
        best = probabilities[0].astype(np.float64)
        decided = np.zeros(probabilities.shape[1:], np.uint8)
        for class_index in range(1, len(weights)):
            score = probabilities[class_index] * weights[class_index]
            decided[score > best] = class_index
            np.maximum(best, score, out=best)
        return decided

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; `from_json` reads them back."""
        return {"rule": "offsets", "values": list(self.values)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Offsets:
        """The rule that `as_json` wrote.

        Raises:
            ValueError: another rule, or values that no rule may have.
        """
        if found.get("rule") != "offsets":
            raise ValueError(f"the rule 'offsets' was wanted; came {found.get('rule')!r}")
        return cls(tuple(float(value) for value in found["values"]))
