"""Every number about a prediction, side by side: all registered metrics, and those that only the metric audit reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from steelyard.confusion import Confusion
from steelyard.evaluate import CaseEvaluation, evaluate_case, pool
from steelyard.labels import Organ
from steelyard.metrics import METRICS
from steelyard.metrics.metric import Better
from steelyard.scores import Score
from steelyard.study.pooled_counts import POOLED_INDICES, auc_of_one_point, pooled_index, pooled_multiclass_counts
from steelyard.volume import LabelMap

Scope = Literal["organ", "all classes", "pooled multiclass counts"]
SCOPES: tuple[Scope, ...] = ("organ", "all classes", "pooled multiclass counts")
ONE_POINT = "auc_of_one_point"


@dataclass(frozen=True)
class Measure:
    """Which number: an organ's own, one over all classes, or one from the study's pooled multiclass counts."""

    scope: Scope
    metric: str
    convention: str
    unit: str
    better: Better


Values = dict[Measure, float | None]  # None where undefined


@dataclass(frozen=True)
class MeasuredCase:
    """One prediction of one case, measured in every way, with what pooling needs."""

    evaluation: CaseEvaluation
    multiclass: Confusion
    voxel_ml: float

    def values(self, organ: Organ) -> Values:
        """Every measure of one organ, then those of all together; None where undefined."""
        return _values(organ, self.evaluation.scores, self._of(organ), self.multiclass)

    def reference_ml(self, organ: Organ) -> float:
        """The organ's volume in the reference."""
        return float(self._of(organ).reference_size * self.voxel_ml)

    def _of(self, organ: Organ) -> Confusion:
        counts = self.evaluation.counts
        return Confusion(*(int(getattr(counts, name)[organ.index]) for name in ("tp", "fp", "fn", "tn")))


def measure_case(reference: LabelMap, prediction: LabelMap, *, case_id: str) -> MeasuredCase:
    """Everything about one prediction. `BadData` where the two lie on different grids or name different organs."""
    return MeasuredCase(
        evaluate_case(reference, prediction, case_id=case_id, patient_id=case_id),
        pooled_multiclass_counts(reference.labels, prediction.labels),
        reference.geometry.voxel_ml,
    )


def pooled_values(cases: Sequence[MeasuredCase], organ: Organ) -> Values:
    """As `MeasuredCase.values`, from the counts and slices of all cases together; distances and volumes have none."""
    counts, multiclass = cases[0]._of(organ), cases[0].multiclass
    for case in cases[1:]:
        counts, multiclass = counts + case._of(organ), multiclass + case.multiclass
    return _values(organ, pool([case.evaluation for case in cases]), counts, multiclass)


def _values(organ: Organ, scores: Sequence[Score], counts: Confusion, multiclass: Confusion) -> Values:
    values: Values = {}
    for score in scores:
        if score.organ in (organ.name, None):
            scope: Scope = "organ" if score.organ else "all classes"
            better = _directions()[score.metric, score.convention, scope]
            values[Measure(scope, score.metric, score.convention, score.unit, better)] = score.value
    values[Measure("organ", ONE_POINT, "one_point", "1", "higher")] = auc_of_one_point(counts)
    pooled: Scope = "pooled multiclass counts"
    for name in POOLED_INDICES:
        values[Measure(pooled, name, "pooled_multiclass", "1", "higher")] = pooled_index(name, multiclass)
    values[Measure(pooled, ONE_POINT, "pooled_multiclass", "1", "higher")] = auc_of_one_point(multiclass)
    return values


@cache
def _directions() -> dict[tuple[str, str, Scope], Better]:
    metrics = [METRICS[name] for name in METRICS]
    return {(m.name, m.convention, "all classes" if m.reads == "classes" else "organ"): m.better for m in metrics}
