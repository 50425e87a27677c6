"""Options of the verbs that show cases: where these come from, and which of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from steelyard.views.figures import Choice, Source

Place = Literal["worst", "median", "best"]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())]


@Parameter(name="*")  # its fields are options of the verb itself
@dataclass(frozen=True)
class Shown:
    """What is shown of a source.

    Parameters
    ----------
    prediction
        Of a folder: the predictions to show, by name; all when left out. Of an image: NIfTI files.
    reference
        Of an image: the expert's label map.
    labels
        Of an image: organs and their values, as liver=63,spleen=252.
    scans
        Of a folder that `predict` wrote: what was predicted, for such folders hold no images.
    """

    prediction: Names = ()
    reference: Path | None = None
    labels: str | None = None
    scans: Path | None = None

    def of(self, place: Path) -> Source:
        from steelyard.views.figures import Source

        return Source(place, self.prediction, self.reference, self.labels, self.scans)


@Parameter(name="*")
@dataclass(frozen=True)
class OneCase:
    """Which case is drawn.

    Parameters
    ----------
    case
        The case's id.
    pick
        The case by its place in the order of --by; the median when neither this nor --case is given.
    by
        The metric of --pick, as dice, iou, hd95_mm.
    organ
        Pick by this organ; a model or a surface shows it alone.
    """

    case: str | None = None
    pick: Place | None = None
    by: str = "dice"
    organ: str | None = None

    @property
    def choice(self) -> Choice:
        from steelyard.views.figures import Choice

        return Choice(
            () if self.case is None else (self.case,), () if self.pick is None else (self.pick,), self.by, self.organ
        )


EVERYTHING, ANY_CASE = Shown(), OneCase()
