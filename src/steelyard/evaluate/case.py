"""All scores of one case from one pass over it, and the scores of many cases pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Literal, get_args

import numpy as np

from steelyard.confusion import Confusion
from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.labels import LabelSet
from steelyard.metrics import METRICS
from steelyard.metrics.boundary_match import SliceScores
from steelyard.metrics.metric import Convention, Metric
from steelyard.metrics.organ_pair import OrganTotals, PooledOrgan, organ_pairs
from steelyard.metrics.overall import ClassTotals
from steelyard.metrics.score_histogram import ScoreHistogram
from steelyard.scores import Score
from steelyard.volume import LabelMap

ConventionName = Literal["chaos", "matlab", "monai", "deepmind"]
ALL_CONVENTIONS: tuple[ConventionName, ...] = get_args(ConventionName)
OF_STUDIES: tuple[ConventionName, ...] = ("chaos", "matlab")  # what a study's runs are scored in, and the default
COUNTS = ("tp", "fp", "fn", "tn")

# What each adds to the metrics from voxel counts and from score sweeps, which have one definition everywhere.
_ADDS: dict[ConventionName, set[Convention]] = {
    "chaos": {"chaos"},
    "matlab": {"matlab", "missing_as_zero"},
    "monai": {"monai"},
    "deepmind": {"deepmind"},
}


@dataclass(frozen=True, eq=False)
class CaseEvaluation:
    """One case: its scores, and what pooling needs.

    Attributes:
        counts: voxel counts (class,), background first.
        slices: BF scores (slice, class), background first; of no slice unless `matlab` is among the conventions.
        histograms: probabilities inside and outside each class; None where only masks are known.
        scores: tidy rows, per organ and (organ None) over all classes.
    """

    case_id: str
    patient_id: str
    sequence: str | None
    label_set: LabelSet
    conventions: tuple[ConventionName, ...]
    counts: Confusion
    slices: SliceScores
    histograms: ScoreHistogram | None
    scores: tuple[Score, ...]


def evaluate_case(
    reference: LabelMap,
    prediction: LabelMap,
    *,
    case_id: str,
    patient_id: str,
    sequence: str | None = None,
    conventions: Sequence[ConventionName] = OF_STUDIES,
    histograms: ScoreHistogram | None = None,
) -> CaseEvaluation:
    """Every registered metric of the chosen conventions, for every organ of the label set and over all classes.

    Args:
        conventions: `chaos` (borders, distances, volumes and points of the challenge), `matlab` (BF score and global
            metrics of its toolbox), `monai` and `deepmind` (surface distances as these measure them). Metrics from
            voxel counts belong to each. Left out: those of every study's runs, chaos and matlab.
        histograms: of `histogram_scores`; without them there are no areas under curves.

    Organs in one mask only, or in neither, score what each metric declares; an undefined value is a row with None.

    Raises:
        BadData: masks on different grids or with different label sets.
        BadSpec: no such convention.
    """
    check_pair(reference, prediction, case_id)
    chosen = _chosen(conventions)
    pairs = organ_pairs(reference, prediction, histograms)
    counts = Confusion(*(np.array([getattr(pair.counts, count) for pair in pairs]) for count in COUNTS))
    none = np.empty((0, len(pairs)))
    slices = SliceScores(none, none)
    if "matlab" in conventions:
        slices = SliceScores(
            np.stack([pair.slices.matlab for pair in pairs], axis=1),
            np.stack([pair.slices.missing_as_zero for pair in pairs], axis=1),
        )
    scores = [
        metric.score(pair, organ=organ.name)
        for organ, pair in zip(reference.label_set.organs, pairs[1:], strict=True)
        for metric in _organ_metrics(chosen, pair)
    ]
    scores += [metric.score(ClassTotals(counts, slices)) for metric in _global_metrics(chosen)]
    return CaseEvaluation(
        case_id,
        patient_id,
        sequence,
        reference.label_set,
        tuple(conventions),
        counts,
        slices,
        histograms,
        tuple(replace(score, case_id=case_id, patient_id=patient_id, sequence=sequence) for score in scores),
    )


def pool(evaluations: Sequence[CaseEvaluation]) -> tuple[Score, ...]:
    """Scores over all cases together: `case_id` and `patient_id` are None.

    Counts and histograms are added before the index, so that every voxel weighs the same and a large organ counts for
    more than a small one; BF scores are means over all slices. Distances and volumes have no pooled value: average
    their rows per patient instead. The background has a row for each metric from counts, since the study's tables of
    IoU hold one. Areas under curves are given when every case has histograms.

    Raises:
        BadData: no case, or cases with different label sets or conventions.
    """
    if not evaluations:
        raise BadData("pooled scores need at least one case; came none. Check that the folders hold cases.")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.label_set != first.label_set or other.conventions != first.conventions:
            raise BadData(
                f"cases {first.case_id} and {other.case_id} have different organs or conventions. Pool alike ones only."
            )
    counts = reduce(add, (case.counts for case in evaluations))
    slices = SliceScores(
        np.concatenate([case.slices.matlab for case in evaluations]),
        np.concatenate([case.slices.missing_as_zero for case in evaluations]),
    )
    known = [case.histograms for case in evaluations if case.histograms is not None]
    histograms = reduce(add, known) if len(known) == len(evaluations) else None
    scores, chosen = [], _chosen(first.conventions)
    for index, name in enumerate(first.label_set.class_names):
        totals = OrganTotals(
            Confusion(*(getattr(counts, count)[index] for count in COUNTS)),
            SliceScores(slices.matlab[:, index], slices.missing_as_zero[:, index]),
            None if histograms is None else histograms.of_class(index),
        )
        scores += [
            metric.score(totals, organ=name)
            for metric in _organ_metrics(chosen, totals)
            if metric.reads == "counts" or (metric.reads != "masks" and index > 0)
        ]
    scores += [metric.score(ClassTotals(counts, slices)) for metric in _global_metrics(chosen)]
    return tuple(scores)


def check_pair(reference: LabelMap, prediction: LabelMap, case_id: str) -> None:
    """`BadData` unless both lie on one grid and hold the same organs."""
    if not reference.geometry.same_grid(prediction.geometry):
        raise BadData(
            f"case {case_id}: reference {_grid(reference)} and prediction {_grid(prediction)} lie on different grids. "
            "Resample the prediction to the reference's grid."
        )
    if reference.label_set.class_names != prediction.label_set.class_names:
        raise BadData(
            f"case {case_id}: the reference holds {', '.join(reference.label_set.class_names[1:])}, the prediction "
            f"{', '.join(prediction.label_set.class_names[1:])}. Read both with one label set."
        )


def _grid(label_map: LabelMap) -> str:
    size = " × ".join(str(n) for n in label_map.geometry.shape)
    spacing = " × ".join(f"{mm:.4g}" for mm in label_map.geometry.spacing_mm)
    return f"({size} voxels of {spacing} mm)"


def _organ_metrics(chosen: Sequence[Metric], organ: PooledOrgan) -> list[Metric]:
    of_organs = [metric for metric in chosen if metric.reads != "classes"]
    return [metric for metric in of_organs if metric.reads != "histogram" or organ.histogram is not None]


def _global_metrics(chosen: Sequence[Metric]) -> list[Metric]:
    return [metric for metric in chosen if metric.reads == "classes"]


def _chosen(conventions: Sequence[ConventionName]) -> list[Metric]:
    for name in conventions:
        if name not in _ADDS:
            raise BadSpec(unknown_name("convention", name, ALL_CONVENTIONS))
    wanted = {"counts", "score_sweep"}.union(*(_ADDS[name] for name in conventions))
    return [METRICS[name] for name in METRICS if METRICS[name].convention in wanted]
