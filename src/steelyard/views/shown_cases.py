"""Cases to look at: the image, what the expert drew, what networks found, and how well, wherever these come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.evaluate.label_sets import labels_of_names, labels_of_values
from steelyard.evaluate.mask_files import NiftiMask, without_suffix
from steelyard.evaluate.structures import Reading
from steelyard.io.nifti import read_label_map, read_volume
from steelyard.labels import CHAOS_MR, LabelSet, Organ
from steelyard.metrics import METRICS
from steelyard.report.label_maps import image_file, predicted_labels, reference_file
from steelyard.report.read import Run, Study, read_study
from steelyard.volume import LabelMap, Volume

SCORES: dict[str, type[pl.DataType]] = {"case_id": pl.String, "prediction": pl.String} | dict.fromkeys(
    ("organ", "metric", "convention"), pl.String
) | {"value": pl.Float64, "unit": pl.String, "status": pl.String}  # fmt: skip
DICE = ("dice", "counts")
PLACES = ("worst", "median", "best")

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

    @classmethod
    def of(cls, cases: Sequence[ShownCase], source: str) -> ShownCases:
        """Cases that are in memory already."""
        by_id = {case.case_id: case for case in cases}
        names = tuple(dict.fromkeys(name for case in cases for name in case.predictions))
        scores = pl.concat([case.scores for case in cases])
        return cls(source, tuple(by_id), cases[0].label_set, names, scores, by_id.__getitem__)

    def with_predictions(self, names: Sequence[str]) -> ShownCases:
        """The cases with those predictions alone, in the order given; with all when none is named.

        Raises:
            BadSpec: no prediction has that name.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise BadSpec(*(unknown_name(f"prediction of {self.source}", name, self.names) for name in unknown))
        if not names:
            return self

        def read_one(case_id: str) -> ShownCase:
            case = self.read_one(case_id)
            return replace(case, predictions={n: case.predictions[n] for n in names if n in case.predictions})

        return replace(self, names=tuple(names), read_one=read_one)

    def __len__(self) -> int:
        return len(self.case_ids)

    def __iter__(self) -> Iterator[ShownCase]:
        return map(self.read_one, self.case_ids)

    def read(self, case_id: str) -> ShownCase:
        """The case of that id; `BadSpec` names the known ones."""
        if case_id not in self.case_ids:
            raise BadSpec(unknown_name(f"case of {self.source}", case_id, self.case_ids))
        return self.read_one(case_id)

    def picked(self, place: str, *, prediction: str, by: str = "dice", organ: str | None = None) -> str:
        """The id of the `worst`, `median` (the lower of two middle ones) or `best` case.

        Args:
            prediction: whose values count.
            by: a metric with a value per organ and case.
            organ: by its value; by the mean over the organs that have one when left out.

        Raises:
            BadSpec: an unknown place, organ or metric, or no case has a value.
        """
        if place not in PLACES:
            raise BadSpec(unknown_name("place", place, PLACES))
        metric = METRICS[by]
        known = [organ_named(self.label_set, organ).name] if organ else [o.name for o in self.label_set.organs]
        badness = {"higher": lambda value: -value, "lower": lambda value: value, "nearer_zero": abs}[metric.better]
        valued = []
        for case_id in self.case_ids:
            key = metric.name, metric.convention
            values = [_value(self.scores, case_id, prediction, name, key) for name in known]
            there = [badness(value) for value in values if value is not None]
            if there:
                valued.append((-sum(there) / len(there), case_id))
        if not valued:
            raise BadSpec(
                f"no case of {self.source} has {by} to be picked by, which takes references. Name a case with --case."
            )
        ranked = [case_id for _, case_id in sorted(valued)]
        return ranked[{"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}[place]]


def organ_named(label_set: LabelSet, name: str) -> Organ:
    """The organ of that name; `BadSpec` names the known ones."""
    if name not in label_set.class_names[1:]:
        raise BadSpec(unknown_name("organ", name, label_set.class_names[1:]))
    return label_set.organ(name)


def cases_of_run(folder: Path, *, every_seed: bool = False) -> ShownCases:
    """The held-out cases of a run, or of a whole study with the predictions of all its losses side by side.

    `folder` is a run's folder inside a study's, or the study's own. A prediction is named by its loss, with the
    network where the study has several. Of several seeds the first that kept the case is shown; networks that find one
    organ each are laid over one another in the order of the organs.

    Args:
        every_seed: show each seed as a prediction of its own, and name it where the study has several.

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
    names = prediction_names(study, runs, every_seed=every_seed)
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


def prediction_names(study: Study, runs: Sequence[Run], *, every_seed: bool = False) -> dict[str, str]:
    """What pictures call the prediction of each run: its loss, and what else is needed to tell the runs apart."""
    several = len({(run.network, run.task) for run in runs}) > 1
    seeds = every_seed and len({run.seed for run in runs}) > 1
    marked = {(c.network, c.task, c.loss): c.marked_loss for c in study.conditions}

    def name(run: Run) -> str:
        parts = [marked[run.network, run.task, run.loss]]
        parts += [run.network, run.task] if several else []
        return ", ".join([*parts, f"seed {run.seed}"] if seeds else parts)

    return {run.run: name(run) for run in runs}


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
            with class indices beside them; names in the files' headers; and every other value v is an organ `label_v`.
        case_id: the image's file name when left out.

    Raises:
        BadData: a file that cannot be read, values of no organ, or another grid than the image's.
    """
    masks = {name: NiftiMask(path) for name, path in predictions.items()}
    drawn = None if reference is None else NiftiMask(reference)
    reading = _reading([*masks.values(), *([] if drawn is None else [drawn])], labels)
    return ShownCase(
        case_id or without_suffix(image),
        read_volume(image),
        None if drawn is None else drawn.read(reading),
        {name: mask.read(reading) for name, mask in masks.items()},
    )


def label_map_of_file(path: Path, labels: LabelSet | None = None) -> LabelMap:
    """A label map (NIfTI) of any tool on its own grid; `labels` as for `case_of_files`."""
    mask = NiftiMask(path)
    return mask.read(_reading([mask], labels))


def _reading(masks: Sequence[NiftiMask], labels: LabelSet | None) -> Reading:
    if labels is not None:
        return Reading.by_source_value(labels)
    found = [mask.values() - {0} for mask in masks]
    names = {value: name for mask in masks for value, name in _names_in(mask).items()}
    every = set().union(*found)
    if every and every <= names.keys():
        return Reading.by_source_value(labels_of_names({names[value]: value for value in sorted(every)}))
    greys = {organ.source_value for organ in CHAOS_MR.organs}
    indices = {organ.index for organ in CHAOS_MR.organs}
    if any(values and values <= greys for values in found) and all(v <= greys or v <= indices for v in found):
        return Reading.by_source_value(CHAOS_MR, or_indices=True)
    return Reading.by_source_value(labels_of_values(every))


def _names_in(mask: NiftiMask) -> dict[int, str]:
    """Value → name, where the file's header says them."""
    return {s.key: s.name for s in mask.named() if isinstance(s.key, int) and s.name}


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
    return study.scores.join(of_runs, on=["run", "case_id"]).select(list(SCORES))


def _value(scores: pl.DataFrame, case_id: str, prediction: str, organ: str, key: Key) -> float | None:
    rows = scores.filter(
        pl.col("case_id") == case_id,
        pl.col("prediction") == prediction,
        pl.col("organ") == organ,
        pl.col("metric") == key[0],
        pl.col("convention") == key[1],
    )
    return rows["value"][0] if len(rows) else None
