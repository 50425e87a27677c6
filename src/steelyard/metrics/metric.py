"""What a metric is: a formula together with its unit, its convention, its good direction and what empty masks give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import isnan
from typing import Any, Literal

from steelyard.confusion import Confusion
from steelyard.scores import Score, Status

Better = Literal["higher", "lower", "nearer_zero"]
Convention = Literal["counts", "chaos", "matlab", "missing_as_zero", "score_sweep", "monai", "deepmind"]
Reads = Literal["counts", "slices", "histogram", "masks", "classes"]
Situation = Literal["both_present", "both_empty", "invented", "missed"]


# What every run of a study is scored in. The others, of other tools, come on request: `steelyard evaluate`.
STUDY_CONVENTIONS: tuple[Convention, ...] = ("counts", "score_sweep", "chaos", "matlab", "missing_as_zero")


class Empty(Enum):
    """What a metric gives, by declaration, for an organ that is not in both masks; or a fixed number instead."""

    UNDEFINED = "undefined"
    COMPUTED = "as computed"
    DIAGONAL = "the volume's diagonal in mm"


UNDEFINED, COMPUTED, DIAGONAL = Empty.UNDEFINED, Empty.COMPUTED, Empty.DIAGONAL


@dataclass(frozen=True)
class Metric:
    """One registered metric. Call it with what it reads to get a number, or None where the metric is undefined.

    Attributes:
        name: the name in tables; an organ's and a global metric, or two conventions, may share it.
        convention: whose definition. `counts`: from the four voxel counts, the same in every tool; `chaos`: borders,
            distances and scores of the CHAOS challenge; `matlab`: BF score and global metrics of MATLAB's
            evaluateSemanticSegmentation; `missing_as_zero`: that BF score, where a slice with the organ in one mask
            only counts 0 instead of being left out; `score_sweep`: areas under curves from probabilities; `monai` and
            `deepmind`: surface distances as those tools measure them, which studies leave out.
        unit: `1`, `%`, `mm`, `ml` or `points`.
        better: which way is good.
        reads: what it is computed from. `counts`, `slices` and `histogram` can be pooled over cases; `masks` needs
            one case (an `OrganPair`); `classes` (a `ClassTotals`) makes it global, a number without an organ.
        both_empty, invented, missed: its value when the organ is in neither mask, in the prediction only, in the
            reference only. For a global metric all three are `COMPUTED`.
    """

    name: str
    convention: Convention
    unit: str
    better: Better
    reads: Reads
    both_empty: float | Empty
    invented: float | Empty
    missed: float | Empty
    compute: Callable[[Any], float | None]

    def __call__(self, measured: Any) -> float | None:
        declared = self.declared(self._situation(measured))
        if declared is UNDEFINED:
            return None
        if declared is DIAGONAL:
            return float(measured.geometry.diagonal_mm)
        if isinstance(declared, float):
            return declared
        value = self.compute(measured)
        return None if value is None or isnan(value) else float(value)

    def declared(self, situation: Situation) -> float | Empty:
        """What the metric gives in that situation, before anything is measured."""
        return COMPUTED if situation == "both_present" else getattr(self, situation)

    def score(self, measured: Any, *, organ: str | None = None) -> Score:
        """The tidy row, still without case and patient."""
        value = self(measured)
        situation = self._situation(measured)
        status: Status = "missed" if situation == "missed" else "invented" if situation == "invented" else "ok"
        return Score(self.name, value, self.unit, self.convention, "undefined" if value is None else status, organ)

    def _situation(self, measured: Any) -> Situation:
        return "both_present" if self.reads == "classes" else situation_of(measured.counts)


def organ_metric(
    *,
    reads: Reads,
    convention: Convention,
    unit: str,
    better: Better,
    both_empty: float | Empty,
    invented: float | Empty,
    missed: float | Empty,
    name: str | None = None,
) -> Callable[[Callable[[Any], float | None]], Metric]:
    """Decorator: a function of one organ becomes a `Metric` with the function's name, or `name` where that is taken."""

    def build(compute: Callable[[Any], float | None]) -> Metric:
        called = name or compute.__name__
        return Metric(called, convention, unit, better, reads, both_empty, invented, missed, compute)

    return build


def global_metric(
    *, name: str | None = None, convention: Convention = "matlab"
) -> Callable[[Callable[[Any], float | None]], Metric]:
    """Decorator: a function of `ClassTotals` becomes a global `Metric`, a share of 1; higher is better."""
    return organ_metric(
        reads="classes",
        convention=convention,
        unit="1",
        better="higher",
        both_empty=COMPUTED,
        invented=COMPUTED,
        missed=COMPUTED,
        name=name,
    )


def situation_of(counts: Confusion) -> Situation:
    """Whether an organ (scalar counts) is in both masks, in neither, or in one."""
    if counts.reference_size:
        return "both_present" if counts.prediction_size else "missed"
    return "invented" if counts.prediction_size else "both_empty"
