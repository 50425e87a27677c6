"""The slices of a case in pixels of a screen: radiological view, true proportions, one crop for all slices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from steelyard.views import slices
from steelyard.views.canvas import BLACK, marked, scaled
from steelyard.views.shown_cases import DICE, ShownCase
from steelyard.volume import LabelMap

BODY_IN_SLICES = 0.8  # of a pixel's grey values: the body is there in a fifth of the slices, noise is not


@dataclass(frozen=True, eq=False)
class CaseOnScreen:
    """A case whose pictures are cropped to the body and every label, the same in all slices."""

    case: ShownCase

    @cached_property
    def size_mm(self) -> tuple[float, float]:
        """Height and width of every picture."""
        return tuple((s.stop - s.start) * mm for s, mm in zip(self._box, self._pixel_mm, strict=True))  # type: ignore[return-value]

    def image(self, index: int, px_per_mm: float) -> np.ndarray:
        """The image alone, as RGB."""
        return np.repeat(self._grey(index, px_per_mm)[..., None], 3, axis=-1)

    def on_black(self, labels: LabelMap, index: int, px_per_mm: float) -> np.ndarray:
        """Labels in their colours, background black; RGB."""
        return slices.on_black(self._labels(labels, index, px_per_mm), labels.label_set)

    def on_image(self, labels: LabelMap, index: int, px_per_mm: float) -> np.ndarray:
        """Labels in their colours over the image, half transparent; RGB."""
        seen = self._labels(labels, index, px_per_mm)
        return slices.over_image(self._grey(index, px_per_mm), seen, labels.label_set)

    def marked(self, pixels: np.ndarray, px_per_mm: float, *, bar: bool = True) -> np.ndarray:
        """The picture with the letters of its left and upper sides, and a scale bar."""
        left, top = slices.displayed_sides(self.case.image.geometry)
        return marked(pixels, paper=BLACK, px_per_mm=px_per_mm, left=left, top=top, bar=bar)

    def where(self, index: int) -> str:
        """`slice 17 of 36 · H 34.5 mm`: the slice's middle along the patient, from the scanner's origin."""
        geometry = self.case.image.geometry
        _, rows, columns = geometry.shape
        middle = geometry.affine @ [index, (rows - 1) / 2, (columns - 1) / 2, 1]
        along = int(np.abs(np.cross(geometry.affine[:3, 1], geometry.affine[:3, 2])).argmax())
        letter = (("R", "L"), ("A", "P"), ("F", "H"))[along][int(middle[along] >= 0)]
        return f"slice {index + 1} of {geometry.shape[0]} · {letter} {abs(middle[along]):.1f} mm"

    def dice(self, prediction: str) -> str:
        """`Dice: liver 0.93, spleen 0.88`, of the whole case; empty where no organ has one."""
        found = [(organ.title, self.case.score(prediction, organ.name, DICE)) for organ in self.case.label_set.organs]
        said = ", ".join(f"{title} {value:.2f}" for title, value in found if value is not None)
        return f"Dice: {said}" if said else ""

    def _grey(self, index: int, px_per_mm: float) -> np.ndarray:
        return scaled(self._plane(self._windowed, index), self._pixel_mm, px_per_mm, smooth=True)

    def _labels(self, labels: LabelMap, index: int, px_per_mm: float) -> np.ndarray:
        return scaled(self._plane(labels.labels, index), self._pixel_mm, px_per_mm, smooth=False)

    def _plane(self, stack: np.ndarray, index: int) -> np.ndarray:
        return slices.displayed(stack, self.case.image.geometry, index)[self._box]

    @cached_property
    def _windowed(self) -> np.ndarray:
        return slices.windowed(self.case.image.intensities)

    @cached_property
    def _box(self) -> slices.Box:
        geometry = self.case.image.geometry
        maps = [] if self.case.reference is None else [self.case.reference]
        maps += self.case.predictions.values()
        bright = np.quantile(self._windowed, BODY_IN_SLICES, axis=0, method="lower")
        flat = (bright, *(label_map.labels.max(0) for label_map in maps))
        body, *labelled = (slices.displayed(plane[None], geometry, 0) for plane in flat)
        return slices.body_box(body, labelled, self._pixel_mm)

    @property
    def _pixel_mm(self) -> tuple[float, float]:
        return slices.displayed_pixel_mm(self.case.image.geometry)
