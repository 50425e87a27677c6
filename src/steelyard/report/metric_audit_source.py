"""Where the label maps of a metric audit come from: a study's finished runs, or two folders of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.evaluate.mask_files import nifti_files, without_suffix
from steelyard.evaluate.paths import PathPair, find_pairs
from steelyard.io.nifti import read_label_map
from steelyard.labels import LabelSet
from steelyard.report.overlays import shown_condition
from steelyard.report.read import Run, Study, read_study
from steelyard.study.metric_audit import AuditCase
from steelyard.volume import LabelMap

T = TypeVar("T")
MULTICLASS = "multiclass"  # a uniclass prediction holds one organ, and cannot take it for another


@dataclass(frozen=True)
class AuditSource:
    """Some of the cases of one place. `sentence` says which; `scores` are a study's own, of all cases, undamaged."""

    title: str
    sentence: str
    files: tuple[StudyCase | PathPair, ...]
    scores: pl.DataFrame | None = None

    def cases(self) -> Iterator[AuditCase]:
        """The chosen cases, each read when its turn comes."""
        for file in self.files:
            yield AuditCase(file.case_id, *file.read())


@dataclass(frozen=True)
class StudyCase:
    """A held-out case of a study with the run that predicted it."""

    case_id: str
    study: Study
    run: Run

    def read(self) -> tuple[LabelMap, LabelMap]:
        """Reference and prediction."""
        reference = self.study.folder / "cases" / self.case_id / "reference.nii.gz"
        label_set = self.study.label_set
        return read_label_map(reference, label_set), read_label_map(self.run.files.prediction(self.case_id), label_set)


def study_source(folder: Path, *, cases: int, run: str | None = None) -> AuditSource:
    """Cases that `run` predicted; without a name those of the condition that the report pictures: the highest IoU.

    Raises:
        BadData: no finished multiclass run with predictions. BadSpec: no such run, or fewer than one case wanted.
    """
    study = read_study(folder)
    runs = [r for r in study.runs if r.task == MULTICLASS and (run is None or r.run == run)]
    if run is not None and not runs:
        raise BadSpec(unknown_name("multiclass run", run, [r.run for r in study.runs if r.task == MULTICLASS]))
    condition = shown_condition(replace(study, runs=tuple(runs)))
    done = [
        r
        for r in runs
        if r.state == "done" and condition and (r.network, r.loss) == (condition.network, condition.loss)
    ]
    by_case: dict[str, Run] = {}
    for own in done:
        predictions = own.files.path / "predictions"
        for file in nifti_files(predictions) if predictions.is_dir() else ():
            by_case.setdefault(without_suffix(file), own)
    if condition is None or not by_case:
        raise BadData(
            f"{run or folder} holds no predictions of a finished multiclass run, so there is nothing to damage. "
            "Finish a run, or name two folders of label maps."
        )
    chosen = spread(sorted(by_case), cases)
    who = f"run {run}" if run else f"{condition.loss} on {condition.network}, the highest average IoU of the study"
    scores = study.scores.filter(pl.col("run").is_in([own.run for own in done]), pl.col("case_id").is_not_null())
    return AuditSource(
        study.name,
        f"Predictions of {who}; {_share(len(chosen), len(by_case))}",
        tuple(StudyCase(case, study, by_case[case]) for case in chosen),
        scores,
    )


def folder_source(
    reference: Path, prediction: Path, *, cases: int, dicom: Path | None = None, labels: LabelSet | None = None
) -> AuditSource:
    """Cases of two folders, or two files, as `evaluate_paths` pairs and reads them."""
    pairs = find_pairs(reference, prediction, dicom=dicom, labels=labels)
    chosen = spread(pairs, cases)
    sentence = f"Label maps of {prediction.name} against {reference.name}; {_share(len(chosen), len(pairs))}"
    return AuditSource(prediction.name, sentence, tuple(chosen))


def spread(found: list[T], count: int) -> list[T]:
    """At most `count` of them, evenly apart, so that patients with several cases do not fill the choice."""
    if count < 1:
        raise BadSpec(f"a metric audit needs at least one case; came {count}. Give --cases 1 or more.")
    count = min(count, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def _share(chosen: int, count: int) -> str:
    if chosen == count:
        return f"all {count} cases" if count > 1 else "the only case"
    return f"{chosen} of {count} cases, evenly spaced in the order of their names"
