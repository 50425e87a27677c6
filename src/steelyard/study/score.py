"""A trained network judged: every held-out case is predicted on its own grid, kept as a label map, and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import nn

from steelyard.batches.slices import SliceSet
from steelyard.confusion import count_labels, iou
from steelyard.evaluate import CaseEvaluation, evaluate_case, pool
from steelyard.freed_memory import freed_memory_kept
from steelyard.io.nifti import write_label_map
from steelyard.io.probabilities import write_probabilities
from steelyard.labels import LabelSet
from steelyard.metrics.score_histogram import histogram_scores
from steelyard.predict import predict_classes, predict_probabilities, to_label_map
from steelyard.runstore import RunFolder, write_parquet
from steelyard.scores import Score, to_frame
from steelyard.study.cases import Cases, Stop, stop_if_asked
from steelyard.study.objects import preprocessing_of
from steelyard.study.plan import Plan, Run, describe
from steelyard.study.reading import read_labelled
from steelyard.study.task import task_reference
from steelyard.volume import Case, LabelMap


@dataclass(frozen=True, eq=False)
class Judged:
    """One case's scores, and the volume of its voxels."""

    evaluation: CaseEvaluation
    voxel_ml: float


def held_out_iou(network: nn.Module, held_out: SliceSet, label_set: LabelSet, plan: Plan) -> dict[str, float | None]:
    """IoU per organ pooled over the held-out slices on the network's grid; None where nobody has the organ."""
    predicted = predict_classes(network, held_out.images, precision=plan.precision).cpu().numpy()
    values = iou(count_labels(held_out.labels.cpu().numpy(), predicted, label_set.class_count))
    return {
        organ.name: None if values[organ.index] != values[organ.index] else float(values[organ.index])
        for organ in label_set.organs
    }


@freed_memory_kept()
def score_run(
    plan: Plan, run: Run, folder: RunFolder, network: nn.Module, cases: Cases, *, device: torch.device, stop: Stop
) -> None:
    """Predict every held-out case on its own grid, write the label maps, and score them there.

    A run that holds nobody out has no scores.
    """
    if not run.fold.test:
        return
    judged = []
    for case, reference, probabilities in predict_held_out(plan, run, network, cases, device=device, stop=stop):
        judged.append(judge(folder, case, reference, probabilities))
        if run.keeps_probabilities:
            write_probabilities(folder.probabilities(case.case_id), probabilities)
    write_scores(plan, run, folder, judged)


def predict_held_out(
    plan: Plan, run: Run, network: nn.Module, cases: Cases, *, device: torch.device, stop: Stop
) -> Iterator[tuple[Case, LabelMap, np.ndarray]]:
    """Every held-out case, its reference with the network's classes, and the probabilities on the case's own grid."""
    context = preprocessing_of(plan.spec).context
    for key in run.fold.test:
        stop_if_asked(stop, "while scoring")
        case, reference = read_labelled(plan.dataset, key)
        probabilities = predict_probabilities(
            network, cases[key], context=context, device=device, precision=plan.precision
        )
        yield case, task_reference(reference, run.organ), probabilities


def judge(folder: RunFolder, case: Case, reference: LabelMap, probabilities: np.ndarray) -> Judged:
    """The label map of those probabilities, written into the folder and scored."""
    prediction = to_label_map(probabilities, case.image.geometry, reference.label_set)
    write_label_map(folder.prediction(case.case_id), prediction)
    evaluation = evaluate_case(
        reference,
        prediction,
        case_id=case.case_id,
        patient_id=case.patient_id,
        sequence=case.sequence,
        histograms=histogram_scores(probabilities, reference),
    )
    return Judged(evaluation, case.image.geometry.voxel_ml)


def write_scores(plan: Plan, run: Run, folder: RunFolder, judged: Sequence[Judged]) -> None:
    """Counts and scores of the cases, and of all of them pooled.

    A uniclass run is scored on its organ alone: means over its two classes would not compare with those over five.
    """
    evaluations = [one.evaluation for one in judged]
    scores: Iterable[Score] = [score for evaluation in evaluations for score in evaluation.scores]
    scores = [*scores, *pool(evaluations)]
    if run.organ is not None:
        scores = [score for score in scores if score.organ == run.organ]
    stamp = {"study": plan.spec.study.name} | describe(run)
    write_parquet(folder.counts, _counts_frame(judged))
    write_parquet(folder.scores, to_frame(dataclasses.replace(score, **stamp) for score in scores))


def _counts_frame(judged: Sequence[Judged]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "case_id": one.evaluation.case_id,
                "patient_id": one.evaluation.patient_id,
                "sequence": one.evaluation.sequence,
                "class_index": index,
                "class_name": name,
                **{field: int(getattr(one.evaluation.counts, field)[index]) for field in ("tp", "fp", "fn", "tn")},
                "voxel_ml": one.voxel_ml,
            }
            for one in judged
            for index, name in enumerate(one.evaluation.label_set.class_names)
        ]
    )
