"""A few slices drawn by lot from all held-out cases: what the eye should see when nobody chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from steelyard.io.nifti import read_volume
from steelyard.report.label_maps import image_file, predicted_labels, reference_file, reference_labels
from steelyard.report.overlays import SliceView
from steelyard.report.read import Condition, Run, Study

SEED = 2021  # any number, as long as it never changes: the same study shows the same slices for ever
SHOWN = 6


@dataclass(frozen=True)
class Drawn:
    """One slice by lot: the reference on black, and the segmentation on the image."""

    where: str
    reference_svg: str
    segmentation_svg: str


@dataclass(frozen=True)
class Lot:
    """The slices drawn, of how many there were to draw from."""

    slices: tuple[Drawn, ...]
    of: int


def random_slices(study: Study, condition: Condition, *, count: int = SHOWN, seed: int = SEED) -> Lot:
    """`count` slices, each as likely as any other, of those in which the reference holds an organ.

    They come from the condition's held-out cases under its first seed, so that no slice is drawn twice. Cases whose
    image or prediction was not kept cannot be drawn. Networks that find one organ each are laid over one another, in
    the order of the organs.
    """
    runs = _runs_of_cases(study, condition)
    candidates = [
        (case_id, index)
        for case_id in runs
        for index in np.flatnonzero(reference_labels(study, case_id).any(axis=(1, 2))).tolist()
    ]
    chosen = [candidates[i] for i in np.random.default_rng(seed).permutation(len(candidates))[:count]]
    return Lot(tuple(_draw(study, runs[case_id], case_id, index) for case_id, index in chosen), len(candidates))


def _draw(study: Study, runs: list[Run], case_id: str, index: int) -> Drawn:
    volume, reference = read_volume(image_file(study, case_id)), reference_labels(study, case_id)
    prediction = np.zeros_like(reference)
    for run in runs:
        found = predicted_labels(study, run, case_id)
        prediction = np.where(found > 0, found, prediction)
    view = SliceView(volume, index, study.label_set, (reference, prediction))
    said = f"{case_id}, slice {index + 1} of {len(reference)}"
    return Drawn(
        said,
        view.labels(reference, f"Reference. {said}"),
        view.on_image(prediction, f"Segmentation, {runs[0].loss}, on the image. {said}"),
    )


def _runs_of_cases(study: Study, condition: Condition) -> dict[str, list[Run]]:
    """Of every case that can be drawn, the runs of the first seed that kept a prediction of it, in organ order."""
    key = (condition.network, condition.task, condition.loss)
    own = [run for run in study.done if (run.network, run.task, run.loss) == key]
    order = [None, *(organ.name for organ in study.label_set.organs)]
    own = sorted((run for run in own if run.seed == own[0].seed), key=lambda run: order.index(run.organ))
    held_out = study.scores.filter(pl.col("run").is_in([run.run for run in own]))["case_id"]
    found = {}
    for case_id in sorted(held_out.drop_nulls().unique()):
        kept = [run for run in own if run.files.prediction(case_id).is_file()]
        if kept and image_file(study, case_id).is_file() and reference_file(study, case_id).is_file():
            found[case_id] = kept
    return found
