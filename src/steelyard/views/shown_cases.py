"""Cases to look at: the image, what the expert drew, what networks found, and how well, wherever these come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.evaluate.label_sets import labels_of_values
from steelyard.evaluate.mask_files import NiftiMask, without_suffix
from steelyard.io.nifti import read_label_map, read_volume
from steelyard.labels import CHAOS_MR, LabelSet
from steelyard.report.label_maps import image_file, predicted_labels, reference_file
from steelyard.report.read import Run, Study, read_study
from steelyard.volume import LabelMap, Volume

SCORES: dict[str, type[pl.DataType]] = {"case_id": pl.String, "prediction": pl.String} | dict.fromkeys(
    ("organ", "metric", "convention"), pl.String
) | {"value": pl.Float64, "unit": pl.String, "status": pl.String}  # fmt: skip
DICE = ("dice", "counts")

Key = tuple[str, str]  # metric, convention


@dataclass(frozen=True, eq=False)
class ShownCase:
    """One case; `predictions` by the name that pictures give them, `scores` with the columns of `SCORES`.

    All lie on the image's grid, and all label maps have one label set.
    """

    case_id: str
    image: Volume
    reference: LabelMap | None
    predictions: Mapping[str, LabelMap]
    scores: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCORES))

    def __post_init__(self) -> None:
        for said, label_map in self._label_maps():
            if not label_map.geometry.same_grid(self.image.geometry):
                raise BadData(
                    f"case {self.case_id}: the {said} lies on another grid than the image. "
                    "Resample it to the image's grid, or name the image that it was drawn on."
                )
        if len({label_map.label_set for _, label_map in self._label_maps()}) != 1:
            raise BadData(
                f"case {self.case_id}: one label set and at least one label map are wanted. Name a label map."
            )

    @property
    def label_set(self) -> LabelSet:
        return self._label_maps()[0][1].label_set

    def score(self, prediction: str, organ: str, key: Key = DICE) -> float | None:
        """A metric of one organ; None where it is undefined or was not measured."""
        return _value(self.scores, self.case_id, prediction, organ, key)

    def _label_maps(self) -> list[tuple[str, LabelMap]]:
        own = [] if self.reference is None else [("reference", self.reference)]
        return own + [(f"prediction {name}", prediction) for name, prediction in self.predictions.items()]


@dataclass(frozen=True, eq=False)
class ShownCases:
    """Cases of one source, in the order of their ids; each is read from disk when it is asked for."""

    source: str
    case_ids: tuple[str, ...]
    label_set: LabelSet
    names: tuple[str, ...]
    scores: pl.DataFrame
    read_one: Callable[[str], ShownCase] = field(repr=False)

    def __len__(self) -> int:
        return len(self.case_ids)

    def __iter__(self) -> Iterator[ShownCase]:
        return map(self.read_one, self.case_ids)

    def read(self, case_id: str) -> ShownCase:
        """The case of that id; `BadSpec` names the known ones."""
        if case_id not in self.case_ids:
            raise BadSpec(unknown_name(f"case of {self.source}", case_id, self.case_ids))
        return self.read_one(case_id)

    def picked(self, place: str, *, prediction: str, organ: str | None = None, key: Key = DICE) -> str:
        """The id of the `worst`, `median` (the lower of two middle ones) or `best` case.

        Args:
            organ: by its value; by the mean over the case's organs when left out.

        Raises:
            BadSpec: another place, or no case has a value.
        """
        known = [name for name in (organ,) if name] or [o.name for o in self.label_set.organs]
        valued = []
        for case_id in self.case_ids:
            values = [_value(self.scores, case_id, prediction, name, key) for name in known]
            there = [value for value in values if value is not None]
            if there:
                valued.append((sum(there) / len(there), case_id))
        if not valued:
            raise BadSpec(
                f"no case of {self.source} has a {key[0]} to be picked by, which takes a reference. Name the case."
            )
        ranked = [case_id for _, case_id in sorted(valued)]
        places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
        if place not in places:
            raise BadSpec(unknown_name("place", place, places))
        return ranked[places[place]]


def cases_of_run(folder: Path) -> ShownCases:
    """The held-out cases of a run, or of a whole study with the predictions of all its losses side by side.

    `folder` is a run's folder inside a study's, or the study's own. A prediction is named by its loss, with the
    network where the study has several. Of several seeds the first that kept the case is shown; networks that find one
    organ each are laid over one another in the order of the organs.

    Raises:
        BadData: no study lies there, or it kept no prediction together with its image.
    """
    whole = (folder / "study.json").is_file()
    if not whole and not (folder.resolve().parent / "study.json").is_file():
        raise BadData(f"{folder} is neither a study's folder nor a run's inside one. Name a folder that `run` wrote.")
    study = read_study(folder if whole else folder.resolve().parent)
    runs = [run for run in study.done if whole or run.run == folder.resolve().name]
    if not runs:
        raise BadData(f"{folder} holds no finished run. Finish it with `steelyard run`.")
    names = _names(study, runs)
    kept = _kept(study, runs, names)
    if not kept:
        raise BadData(f"{folder}: no prediction was kept together with its image. Run the study again.")

    def read_one(case_id: str) -> ShownCase:
        reference = reference_file(study, case_id)
        image = read_volume(image_file(study, case_id))
        predictions = {name: _laid_over(study, own, case_id, image) for name, own in kept[case_id].items()}
        return ShownCase(
            case_id,
            image,
            read_label_map(reference, study.label_set) if reference.is_file() else None,
            predictions,
            scores.filter(pl.col("case_id") == case_id),
        )

    scores = _scores(study, kept)
    shown = tuple(dict.fromkeys(name for own in kept.values() for name in own))
    return ShownCases(str(folder), tuple(sorted(kept)), study.label_set, shown, scores, read_one)


def case_of_files(
    image: Path,
    predictions: Mapping[str, Path],
    *,
    reference: Path | None = None,
    labels: LabelSet | None = None,
    case_id: str | None = None,
) -> ShownCase:
    """One case from NIfTI files of any tool: an image, label maps by name, and the expert's where there is one.

    Args:
        labels: organs and their values in the files. Without it CHAOS's grey values (63, 126, 189, 252) are known, also
            with class indices beside them, and every other value v is an organ `label_v`.
        case_id: the image's file name when left out.

    Raises:
        BadData: a file that cannot be read, values of no organ, or another grid than the image's.
    """
    files = {"reference": reference} if reference is not None else {}
    masks = {name: NiftiMask(path) for name, path in (files | dict(predictions)).items()}
    label_set = labels or _suggested([mask.values() - {0} for mask in masks.values()])
    maps = {name: mask.read(label_set, or_indices=labels is None) for name, mask in masks.items()}
    drawn = maps.pop("reference") if reference is not None else None
    return ShownCase(case_id or without_suffix(image), read_volume(image), drawn, maps)


def _suggested(found: Sequence[set[int]]) -> LabelSet:
    greys = {organ.source_value for organ in CHAOS_MR.organs}
    indices = {organ.index for organ in CHAOS_MR.organs}
    if any(values and values <= greys for values in found) and all(v <= greys or v <= indices for v in found):
        return CHAOS_MR
    return labels_of_values(set().union(*found))


def _names(study: Study, runs: Sequence[Run]) -> dict[str, str]:
    """What pictures call the prediction of each run: its loss, and what else is needed to tell the losses apart."""
    several = len({(run.network, run.task) for run in runs}) > 1
    marked = {(c.network, c.task, c.loss): c.marked_loss for c in study.conditions}
    titles = {run.run: marked[run.network, run.task, run.loss] for run in runs}
    return {r.run: f"{titles[r.run]}, {r.network}, {r.task}" if several else titles[r.run] for r in runs}


def _kept(study: Study, runs: Sequence[Run], names: Mapping[str, str]) -> dict[str, dict[str, list[Run]]]:
    """Case → name → the runs whose predictions make it up, of the first seed that kept any, in organ order."""
    order = [None, *(organ.name for organ in study.label_set.organs)]
    found: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        for file in sorted((run.files.path / "predictions").glob("*.nii.gz")):
            case_id = without_suffix(file)
            if image_file(study, case_id).is_file():
                own = found.setdefault(case_id, {}).setdefault(names[run.run], [])
                if not own or own[0].seed == run.seed:
                    own.append(run)
    for named in found.values():
        for own in named.values():
            own.sort(key=lambda run: order.index(run.organ))
    return found


def _laid_over(study: Study, runs: Sequence[Run], case_id: str, image: Volume) -> LabelMap:
    labels = np.zeros(image.geometry.shape, np.uint8)
    for run in runs:
        found = predicted_labels(study, run, case_id)
        if found.shape != labels.shape:
            raise BadData(f"{run.files.prediction(case_id)} does not fit the case's image. Run the study again.")
        labels = np.where(found > 0, found, labels)
    return LabelMap(labels, image.geometry, study.label_set)


def _scores(study: Study, kept: Mapping[str, Mapping[str, Sequence[Run]]]) -> pl.DataFrame:
    shown = [
        {"run": run.run, "case_id": case_id, "prediction": name}
        for case_id, named in kept.items()
        for name, runs in named.items()
        for run in runs
    ]
    of_runs = pl.DataFrame(shown, schema=dict.fromkeys(("run", "case_id", "prediction"), pl.String))
    return study.scores.join(of_runs, on=["run", "case_id"]).select(SCORES)


def _value(scores: pl.DataFrame, case_id: str, prediction: str, organ: str, key: Key) -> float | None:
    rows = scores.filter(
        pl.col("case_id") == case_id,
        pl.col("prediction") == prediction,
        pl.col("organ") == organ,
        pl.col("metric") == key[0],
        pl.col("convention") == key[1],
    )
    return rows["value"][0] if len(rows) else None
