"""Everything that a calibration found out, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.calibrate.judge import Judgement
from steelyard.calibrate.later import DecidedLater
from steelyard.calibrate.prices import Prices
from steelyard.calibrate.tally import Tally
from steelyard.calibrate.trials import Trials

CHOSEN = "calibrated"  # the title of the chosen weights among the methods


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of one calibration.

    Attributes:
        chosen: per outer fold, by its inner folds alone.
        final: by the inner predictions of all outer folds.
        lost: why methods are missing of which a training failed.
        judged_by: the quantity that is compared, patient by patient.
        methods: outer predictions of every method: the calibrated weights, the rivals, the decisions moved afterwards.
    """

    trials: Mapping[int, Trials]
    chosen: Mapping[int, Prices]
    final: Prices
    methods: Mapping[str, Tally]
    lost: dict[str, str]
    later: Mapping[int, list[DecidedLater]]
    front: list[dict[str, Any]]
    judged_by: str
    judgement: Judgement
    cost: dict[str, Any]
