"""Which metrics reveal a failed organ? Damage a prediction on purpose, one organ at a time, and see what each tells.

The damages are those of `steelyard.study.damage`, the metrics are all registered ones in every convention, the study's
pooled multiclass counts and the area under the ROC curve of a label map's single point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Literal

import polars as pl

from steelyard.errors import BadData
from steelyard.labels import LabelSet, Organ
from steelyard.metrics.metric import Better
from steelyard.study.damage import DAMAGES, CannotDamageError, Damage
from steelyard.study.measures import Measure, MeasuredCase, Scope, Values, measure_case, pooled_values
from steelyard.volume import LabelMap

Over = Literal["mean of cases", "pooled over cases"]
Verdict = Literal["reveals", "moves", "hardly moves", "looks better", "undefined"]

# A drop below the first number hardly moves the metric; from the second on it reveals the failure. Shares: the study
# prints two decimals, and its losses differ by at most 11 points on an organ, so that a drop of .1 or more can hardly
# be taken for the choice of a loss. Percent and points: the same on a scale of 100. Distances: 1 mm is less than a
# pixel of abdominal MRI, and 5 mm is a third of the 15 mm from which an ASSD earns no points in CHAOS. Millilitres are
# judged as a share of the organ's reference volume.
LIMITS = {"1": (0.01, 0.1), "%": (1.0, 10.0), "points": (1.0, 10.0), "mm": (1.0, 5.0), "ml": (0.01, 0.1)}
ROUNDING = 1e-12  # .9 − .8 is a little less than .1
SCALE = {"1": 1.0, "%": 100.0, "points": 100.0}  # what a drop is a share of; distances have no such number


@dataclass(frozen=True)
class AuditCase:
    """A reference and a prediction on one grid with one label set."""

    case_id: str
    reference: LabelMap
    prediction: LabelMap


@dataclass(frozen=True)
class AuditRow:
    """What one metric says when one organ is damaged in one way.

    Attributes:
        organ: the damaged organ; None for the mean over all organs that were damaged so.
        over: whether values are means of the cases' values, or come from the cases' counts added up.
        before, after: without and with the damage; a mean of cases is of those that have both. None if none has.
        drop: positive when the metric got worse, in its own unit and by its own good direction.
        share: the drop as a share of the metric's range (of the reference volume for ml); None for distances.
        cases: how many cases were damaged.
        lost: in how many of them the damage left the metric without a value, so that no mean holds them.
    """

    damage: str
    organ: str | None
    scope: Scope
    metric: str
    convention: str
    unit: str
    over: Over
    before: float | None
    after: float | None
    drop: float | None
    share: float | None
    verdict: Verdict
    cases: int
    lost: int


@dataclass(frozen=True)
class Skipped:
    """A damage that was not done, and why, as a clause."""

    case_id: str
    damage: str
    organ: str
    reason: str


@dataclass(frozen=True)
class MetricAudit:
    """The whole audit: what was damaged, what every metric said, what could not be damaged."""

    case_ids: tuple[str, ...]
    label_set: LabelSet
    damages: tuple[Damage, ...]
    rows: tuple[AuditRow, ...]
    skipped: tuple[Skipped, ...]

    @property
    def frame(self) -> pl.DataFrame:
        """The rows as a tidy table."""
        return pl.DataFrame([asdict(row) for row in self.rows], infer_schema_length=None)


def audit_metrics(cases: Iterable[AuditCase], *, damages: Sequence[Damage] = DAMAGES) -> MetricAudit:
    """Damage every organ of every case in every way, and measure before and after.

    An organ that reference or prediction lacks is not damaged, which `skipped` says: there is nothing to lose.

    Raises:
        BadData: no case; cases with different organs; masks on different grids; no organ that can be damaged.
    """
    found: dict[tuple[str, Organ], list[tuple[MeasuredCase, MeasuredCase]]] = {}
    skipped: list[Skipped] = []
    case_ids: list[str] = []
    label_set = LabelSet(())
    for case in cases:
        label_set = case.reference.label_set if not case_ids else label_set
        case_ids.append(case.case_id)
        if case.reference.label_set != label_set:
            raise BadData(f"cases {case_ids[0]} and {case.case_id} have different organs. Audit alike ones only.")
        before = measure_case(case.reference, case.prediction, case_id=case.case_id)
        for organ in label_set.organs:
            for damage in damages:
                try:
                    damaged = _damaged(case, organ, damage)
                except CannotDamageError as reason:
                    skipped.append(Skipped(case.case_id, damage.name, organ.name, str(reason)))
                else:
                    after = measure_case(case.reference, damaged, case_id=case.case_id)
                    found.setdefault((damage.name, organ), []).append((before, after))
    if not found:
        came = "none in which reference and prediction share one" if case_ids else "no case"
        raise BadData(f"a metric audit needs cases with an organ to damage; came {came}. Name other predictions.")
    rows: list[AuditRow] = []
    for damage in damages:
        own = [(organ, found.get((damage.name, organ), [])) for organ in label_set.organs]
        of_organs = [row for organ, pairs in own if pairs for row in _rows(damage, organ, pairs)]
        rows += of_organs + _means_over_organs(of_organs)
    return MetricAudit(tuple(case_ids), label_set, tuple(damages), tuple(rows), tuple(skipped))


def verdict_of(drop: float | None, share: float | None, unit: str) -> Verdict:
    """What a drop tells a reader who does not know of the failure: see `LIMITS`."""
    judged = share if unit == "ml" else drop
    if judged is None:
        return "undefined"
    hardly, reveals = (limit - ROUNDING for limit in LIMITS[unit])
    if judged >= reveals:
        return "reveals"
    if judged >= hardly:
        return "moves"
    return "hardly moves" if judged > -hardly else "looks better"


def drop_of(before: float, after: float, better: Better) -> float:
    """How much worse a metric got, by its own good direction: positive is worse, negative better."""
    if better == "higher":
        return before - after
    return after - before if better == "lower" else abs(after) - abs(before)


def _damaged(case: AuditCase, organ: Organ, damage: Damage) -> LabelMap:
    if not (case.reference.labels == organ.index).any():
        raise CannotDamageError("the reference lacks it")
    return damage(case.prediction, organ)


def _rows(damage: Damage, organ: Organ, pairs: list[tuple[MeasuredCase, MeasuredCase]]) -> list[AuditRow]:
    """All measures of one damaged organ, as means of the cases' values and from the cases' counts added up."""
    sides = [before for before, _ in pairs], [after for _, after in pairs]
    of_cases = [[case.values(organ) for case in side] for side in sides]
    pooled = [[pooled_values(side, organ)] for side in sides]
    volumes_ml = [before.reference_ml(organ) for before, _ in pairs]
    both: tuple[tuple[Over, list[list[Values]]], ...] = (("mean of cases", of_cases), ("pooled over cases", pooled))
    rows = []
    for over, (befores, afters) in both:
        for measure in befores[0]:
            values = [(before[measure], after[measure]) for before, after in zip(befores, afters, strict=True)]
            scales = volumes_ml if measure.unit == "ml" else [SCALE.get(measure.unit)] * len(values)
            rows.append(_row(damage, organ, measure, over, values, scales, case_count=len(pairs)))
    return rows


def _row(
    damage: Damage,
    organ: Organ,
    measure: Measure,
    over: Over,
    values: list[tuple[float | None, float | None]],
    scales: Sequence[float | None],
    *,
    case_count: int,
) -> AuditRow:
    known = [(b, a, scale) for (b, a), scale in zip(values, scales, strict=True) if b is not None and a is not None]
    drops = [(drop_of(before, after, measure.better), scale) for before, after, scale in known]
    drop, share = _mean([own for own, _ in drops]), _mean([own / scale for own, scale in drops if scale])
    return AuditRow(
        damage=damage.name,
        organ=organ.name,
        scope=measure.scope,
        metric=measure.metric,
        convention=measure.convention,
        unit=measure.unit,
        over=over,
        before=_mean([before for before, _, _ in known]),
        after=_mean([after for _, after, _ in known]),
        drop=drop,
        share=share,
        verdict=verdict_of(drop, share, measure.unit),
        cases=case_count,
        lost=sum(before is not None and after is None for before, after in values),
    )


def _means_over_organs(rows: list[AuditRow]) -> list[AuditRow]:
    """Each measure's mean over the organs that have a value; undefined where none has."""
    groups: dict[tuple[str, ...], list[AuditRow]] = {}
    for row in rows:
        groups.setdefault((row.scope, row.metric, row.convention, row.over), []).append(row)
    means = []
    for own in groups.values():
        known = [row for row in own if row.drop is not None]
        drop = _mean([row.drop for row in known])
        share = _mean([row.share for row in known])
        means.append(
            replace(
                own[0],
                organ=None,
                before=_mean([row.before for row in known]),
                after=_mean([row.after for row in known]),
                drop=drop,
                share=share,
                verdict=verdict_of(drop, share, own[0].unit),
                cases=sum(row.cases for row in own),
                lost=sum(row.lost for row in own),
            )
        )
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
