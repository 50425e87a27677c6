"""Pictures of the worst, the median and the best case per organ: reference, segmentation, and both on the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from steelyard.io.nifti import read_volume
from steelyard.labels import LabelSet, Organ
from steelyard.report.label_maps import image_file, predicted_labels, reference_file, reference_labels
from steelyard.report.means import mean, pooled
from steelyard.report.read import UNICLASS, Condition, Run, Study
from steelyard.views import slices
from steelyard.volume import Volume

PREDICTION_STROKE = "#ffffff"


@dataclass(frozen=True)
class Pick:
    """A case worth a look: the worst, median or best of an organ. `patient_id` is an id, never a name."""

    place: str
    organ: Organ
    run: Run
    case_id: str
    patient_id: str
    sequence: str
    iou: float


@dataclass(frozen=True)
class Panel:
    """One picture with the words under it."""

    caption: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """The pictures of one pick, or in `missing` why there are none."""

    pick: Pick
    where: str
    panels: tuple[Panel, ...] = ()
    others: tuple[Panel, ...] = ()
    missing: str = ""


def shown_condition(study: Study) -> Condition | None:
    """The condition whose cases are pictured: the highest pooled organ-average IoU among the comparable ones.

    Networks that find all organs go before those that find one organ each, whose pictures hold one organ.
    """
    rows = pooled(study.scores).filter(
        (pl.col("metric") == "iou") & pl.col("organ").is_in([organ.name for organ in study.label_set.organs])
    )
    best: tuple[tuple[bool, float], Condition] | None = None
    for group in study.groups:
        for condition in study.comparable(group):
            average = mean(_of(rows, condition)["value"].to_list())
            if average is None:
                continue
            place = condition.task != UNICLASS, average
            if best is None or place > best[0]:
                best = place, condition
    return best[1] if best else next((c for c in study.conditions if c.done), None)


def pick_cases(study: Study, condition: Condition, organ: Organ) -> tuple[Pick, ...]:
    """Worst, median (the lower of two middle ones) and best case by the organ's IoU; fewer if there are fewer cases.

    A case without the organ in both label maps has no IoU and is not picked. Equal values are taken in case order.
    """
    rows = study.scores.filter(
        pl.col("case_id").is_not_null() & (pl.col("metric") == "iou") & (pl.col("organ") == organ.name)
    )
    rows = _of(rows, condition).drop_nulls("value").sort("value", "case_id", "run")
    rows = rows.unique(["case_id", "run"], keep="first", maintain_order=True)
    places: dict[int, str] = {}
    for place, index in (("worst", 0), ("best", len(rows) - 1), ("median", (len(rows) - 1) // 2)):
        if len(rows) and index not in places:
            places[index] = place
    runs = {run.run: run for run in study.done}
    picks = []
    for index, place in sorted(places.items()):
        row = rows.row(index, named=True)
        case = row["case_id"], row["patient_id"], row["sequence"] or ""
        picks.append(Pick(place, organ, runs[row["run"]], *case, row["value"]))
    return tuple(picks)


def draw(study: Study, pick: Pick) -> Figure:
    """Reference and segmentation on black, both outlined on the image, and the same slice under the other losses.

    The slice is the one with the largest reference area of the organ; of the prediction where that is empty. A †
    follows the name of a loss that lacks planned runs.
    """
    image = image_file(study, pick.case_id)
    paths = [image, reference_file(study, pick.case_id), pick.run.files.prediction(pick.case_id)]
    gone = [path.name for path in paths if not path.is_file()]
    if gone:
        return Figure(pick, "", missing=f"no picture: {', '.join(gone)} of {pick.case_id} was not kept")

    volume = read_volume(image)
    reference = reference_labels(study, pick.case_id, pick.run.organ)
    prediction = predicted_labels(study, pick.run, pick.case_id)
    index, basis = _slice(reference == pick.organ.index, prediction == pick.organ.index)
    own, group = pick.run.loss, (pick.run.network, pick.run.task)
    marked = {c.loss: c.marked_loss for c in study.conditions if c.group == group}
    others = {
        marked[run.loss]: predicted_labels(study, run, pick.case_id)
        for run in study.done
        if _same_but_loss(run, pick.run) and run.files.prediction(pick.case_id).is_file()
    }
    view = SliceView(volume, index, study.label_set, (reference, prediction, *others.values()))
    where = f"slice {index + 1} of {len(reference)}, the one with the largest {basis} area"
    said = f"{pick.organ.title}, {pick.place} case, {pick.case_id}, slice {index + 1}"
    panels = (
        Panel("reference", view.labels(reference, f"Reference. {said}")),
        Panel(f"segmentation, {marked[own]}", view.labels(prediction, f"Segmentation, {marked[own]}. {said}")),
        Panel(
            "both on the image: reference in colour, segmentation dashed white",
            view.contours(reference, prediction, f"Outlines of reference and segmentation on the image. {said}"),
        ),
    )
    same = tuple(Panel(loss, view.labels(seen, f"Segmentation, {loss}. {said}")) for loss, seen in others.items())
    return Figure(pick, where, panels, same)


@dataclass(frozen=True, eq=False)
class SliceView:
    """One slice of a case; `shown` are all label maps that will be drawn of it, so that one frame holds them all."""

    volume: Volume
    index: int
    label_set: LabelSet
    shown: tuple[np.ndarray, ...]

    @cached_property
    def grey(self) -> np.ndarray:
        return self._plane(slices.windowed(self.volume.intensities))

    @cached_property
    def box(self) -> slices.Box:
        return slices.body_box(self.grey, [self._plane(labels) for labels in self.shown], self.pixel_mm)

    @property
    def pixel_mm(self) -> tuple[float, float]:
        return slices.displayed_pixel_mm(self.volume.geometry)

    def labels(self, labels: np.ndarray, alt: str) -> str:
        pixels = slices.on_black(self._plane(labels)[self.box], self.label_set)
        return slices.picture(pixels, self.pixel_mm, alt=alt)

    def contours(self, reference: np.ndarray, prediction: np.ndarray, alt: str) -> str:
        drawn = []
        for labels, dashed in ((reference, False), (prediction, True)):
            plane = self._plane(labels)[self.box]
            for organ in self.label_set.organs:
                colour = PREDICTION_STROKE if dashed else slices.hex_colour(organ.colour)
                drawn.append(slices.outline(plane == organ.index, self.pixel_mm, colour=colour, dashed=dashed))
        return slices.picture(self.grey[self.box], self.pixel_mm, alt=alt, outlines=drawn, marks=True)

    def on_image(self, labels: np.ndarray, alt: str) -> str:
        """The labels in their colours over the image, which shows through."""
        pixels = slices.over_image(self.grey[self.box], self._plane(labels)[self.box], self.label_set)
        return slices.picture(pixels, self.pixel_mm, alt=alt, marks=True)

    def _plane(self, stack: np.ndarray) -> np.ndarray:
        return slices.displayed(stack, self.volume.geometry, self.index)


def _slice(reference: np.ndarray, prediction: np.ndarray) -> tuple[int, str]:
    index = slices.largest_slice(reference)
    if index is not None:
        return index, "reference"
    return slices.largest_slice(prediction) or 0, "segmentation"


def _of(rows: pl.DataFrame, condition: Condition) -> pl.DataFrame:
    return rows.filter(
        pl.col("network") == condition.network, pl.col("task") == condition.task, pl.col("loss") == condition.loss
    )


def _same_but_loss(run: Run, other: Run) -> bool:
    return run.loss != other.loss and all(
        getattr(run, name) == getattr(other, name) for name in ("network", "task", "organ", "fold", "seed")
    )
