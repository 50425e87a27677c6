"""A trained network judged: every held-out case is predicted on its own grid, kept as a label map, and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import polars as pl
import torch
from torch import nn

from steelyard.batches.slices import SliceSet
from steelyard.confusion import count_labels, iou
from steelyard.evaluate import CaseEvaluation, evaluate_case, pool
from steelyard.io.nifti import write_label_map
from steelyard.io.probabilities import write_probabilities
from steelyard.labels import LabelSet
from steelyard.metrics.score_histogram import histogram_scores
from steelyard.predict import predict_classes, predict_probabilities, to_label_map
from steelyard.runstore import RunFolder, write_parquet
from steelyard.scores import Score, to_frame
from steelyard.study.cases import Cases, Stop, read_labelled, stop_if_asked
from steelyard.study.objects import preprocessing_of
from steelyard.study.plan import Plan, Run, describe
from steelyard.study.task import task_label_set, task_reference


def held_out_iou(network: nn.Module, held_out: SliceSet, label_set: LabelSet, plan: Plan) -> dict[str, float | None]:
    """IoU per organ pooled over the held-out slices on the network's grid; None where nobody has the organ."""
    predicted = predict_classes(network, held_out.images, precision=plan.precision).cpu().numpy()
    values = iou(count_labels(held_out.labels.cpu().numpy(), predicted, label_set.class_count))
    return {
        organ.name: None if values[organ.index] != values[organ.index] else float(values[organ.index])
        for organ in label_set.organs
    }


def score_run(
    plan: Plan, run: Run, folder: RunFolder, network: nn.Module, cases: Cases, *, device: torch.device, stop: Stop
) -> None:
    """Predict every held-out case on its own grid, write the label maps, and score them there.

    A run that holds nobody out has no scores. A uniclass run is scored on its organ alone: means over its two classes
    would not compare with those over five.
    """
    label_set = task_label_set(plan.dataset.label_set, run.organ)
    evaluations = []
    voxels_ml = []
    if not run.fold.test:
        return
    for key in run.fold.test:
        stop_if_asked(stop, "while scoring")
        case, whole_reference = read_labelled(plan.dataset, key)
        reference = task_reference(whole_reference, run.organ)
        probabilities = predict_probabilities(
            network, cases[key], context=preprocessing_of(plan.spec).context, device=device, precision=plan.precision
        )
        prediction = to_label_map(probabilities, case.image.geometry, label_set)
        write_label_map(folder.prediction(case.case_id), prediction)
        if run.keeps_probabilities:
            write_probabilities(folder.probabilities(case.case_id), probabilities)
        voxels_ml.append(case.image.geometry.voxel_ml)
        evaluations.append(
            evaluate_case(
                reference,
                prediction,
                case_id=case.case_id,
                patient_id=case.patient_id,
                sequence=case.sequence,
                histograms=histogram_scores(probabilities, reference),
            )
        )
    scores: Iterable[Score] = [score for evaluation in evaluations for score in evaluation.scores]
    scores = [*scores, *pool(evaluations)]
    if run.organ is not None:
        scores = [score for score in scores if score.organ == run.organ]
    stamp = {"study": plan.spec.study.name} | describe(run)
    write_parquet(folder.counts, _counts_frame(evaluations, voxels_ml, label_set))
    write_parquet(folder.scores, to_frame(dataclasses.replace(score, **stamp) for score in scores))


def _counts_frame(evaluations: list[CaseEvaluation], voxels_ml: list[float], label_set: LabelSet) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "case_id": evaluation.case_id,
                "patient_id": evaluation.patient_id,
                "sequence": evaluation.sequence,
                "class_index": index,
                "class_name": name,
                **{field: int(getattr(evaluation.counts, field)[index]) for field in ("tp", "fp", "fn", "tn")},
                "voxel_ml": voxel_ml,
            }
            for evaluation, voxel_ml in zip(evaluations, voxels_ml, strict=True)
            for index, name in enumerate(label_set.class_names)
        ]
    )
