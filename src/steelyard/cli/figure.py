"""Verbs that draw cases: pairs of slices, stacked models, films, surfaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import App, Parameter

from steelyard.cli.app import app, console

if TYPE_CHECKING:
    from steelyard.views.figures import Choice, Source

figure = App(name="figure", help="Draw cases: pairs of slices, a stacked model, a film, surfaces.")
app.command(figure)

Place = Literal["worst", "median", "best"]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())]
Positive = Annotated[float, Parameter(validator=cyclopts.validators.Number(gt=0))]


@figure.command
def slices(
    source: Path,
    out: Path,
    *,
    case: Names = (),
    pick: Annotated[tuple[Place, ...], Parameter(consume_multiple=True, negative=())] = (),
    by: str = "dice",
    organ: str | None = None,
    slice_: Annotated[tuple[int, ...], Parameter(name="--slice", consume_multiple=True, negative=())] = (),
    per_case: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1, lte=20))] = 1,
    prediction: Names = (),
    reference: Path | None = None,
    labels: str | None = None,
    scans: Path | None = None,
) -> None:
    """Draw slices: the reference on black beside the prediction on the image. Worst, median and best case, or named.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or an image (NIfTI) with label maps of any tool.
    out
        A .png file.
    case
        Case ids, one row each.
    pick
        Cases by their place in the order of --by; worst, median and best when neither this nor --case is given.
    by
        The metric of --pick, as dice, iou, hd95_mm.
    organ
        Pick cases and slices by this organ.
    slice_
        Slices, counted from 1; those that show most when left out.
    per_case
        So many slices of each case, spread over the organs.
    prediction
        Of a folder: the predictions to show, by name. Of an image: NIfTI files.
    reference
        Of an image: the expert's label map.
    labels
        Of an image: organs and their values, as liver=63,spleen=252.
    scans
        Of a folder that `predict` wrote: what was predicted, for such folders hold no images.
    """
    from steelyard.views.figures import write_slices

    chosen = _choice(case, pick, by, organ)
    shown = write_slices(
        out, _source(source, prediction, reference, labels, scans), chosen, numbers=slice_, per_case=per_case
    )
    _say(f"{', '.join(shown)}: {out}")


@figure.command
def model(
    source: Path,
    out: Path,
    *,
    case: str | None = None,
    pick: Place | None = None,
    by: str = "dice",
    organ: str | None = None,
    prediction: Names = (),
    reference: Path | None = None,
    labels: str | None = None,
    scans: Path | None = None,
) -> None:
    """Draw a case as a stack of its slices in space, from above and below, in organ colours and in grey.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or an image (NIfTI) with label maps of any tool.
    out
        A .png file.
    case
        The case's id.
    pick
        The case by its place in the order of --by; the median when neither this nor --case is given.
    by
        The metric of --pick.
    organ
        Pick by this organ, and draw it alone.
    prediction
        Of a folder: the predictions to show, by name. Of an image: NIfTI files.
    reference
        Of an image: the expert's label map.
    labels
        Of an image: organs and their values, as liver=63,spleen=252.
    scans
        Of a folder that `predict` wrote: what was predicted, for such folders hold no images.
    """
    from steelyard.views.figures import write_model

    shown = write_model(out, _source(source, prediction, reference, labels, scans), _choice(case, pick, by, organ))
    _say(f"{shown}: {out}")


@figure.command
def film(
    source: Path,
    out: Path,
    *,
    case: str | None = None,
    pick: Place | None = None,
    by: str = "dice",
    organ: str | None = None,
    fps: Positive = 4.0,
    prediction: Names = (),
    reference: Path | None = None,
    labels: str | None = None,
    scans: Path | None = None,
) -> None:
    """Film a run through the slices of a case: reference and prediction on the image, side by side.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or an image (NIfTI) with label maps of any tool.
    out
        A .gif file; or .mp4, with pip install 'steelyard[video]'.
    case
        The case's id.
    pick
        The case by its place in the order of --by; the median when neither this nor --case is given.
    by
        The metric of --pick.
    organ
        Pick by this organ.
    fps
        Slices per second.
    prediction
        Of a folder: the predictions to show, by name. Of an image: NIfTI files.
    reference
        Of an image: the expert's label map.
    labels
        Of an image: organs and their values, as liver=63,spleen=252.
    scans
        Of a folder that `predict` wrote: what was predicted, for such folders hold no images.
    """
    from steelyard.views.figures import write_case_film

    chosen = _choice(case, pick, by, organ)
    shown = write_case_film(out, _source(source, prediction, reference, labels, scans), chosen, fps=fps)
    _say(f"{shown}: {out}")


@figure.command
def mesh(
    source: Path,
    out: Path,
    *,
    case: str | None = None,
    pick: Place | None = None,
    by: str = "dice",
    organ: str | None = None,
    of: str | None = None,
    detail_mm: Positive | None = None,
    labels: str | None = None,
) -> None:
    """Write the organs of a label map as closed surfaces in RAS millimetres, for other programs and 3-D printers.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or a label map (NIfTI) of any tool.
    out
        A .glb file with all organs in their colours, an .stl file with one, or a folder for an STL each and organs.glb.
    case
        The case's id.
    pick
        The case by its place in the order of --by; the median when neither this nor --case is given.
    by
        The metric of --pick.
    organ
        This organ alone.
    of
        Which label map of the case: a prediction's name, or reference; the first prediction when left out.
    detail_mm
        Edge of the cells that surfaces are drawn in; the finest voxel spacing (at least 1.5 mm) when left out.
    labels
        Of a label map: organs and their values, as liver=63,spleen=252.
    """
    from steelyard.views.figures import write_meshes

    chosen = _choice(case, pick, by, organ)
    for path in write_meshes(out, _source(source, (), None, labels), chosen, of=of, detail_mm=detail_mm):
        _say(f"written: {path}")


def _source(
    place: Path, prediction: tuple[str, ...], reference: Path | None, labels: str | None, scans: Path | None = None
) -> Source:
    from steelyard.views.figures import Source

    return Source(place, prediction, reference, labels, scans)


def _choice(
    case: str | tuple[str, ...] | None, pick: str | tuple[str, ...] | None, by: str, organ: str | None
) -> Choice:
    from steelyard.views.figures import Choice

    cases = (case,) if isinstance(case, str) else case or ()
    return Choice(cases, (pick,) if isinstance(pick, str) else pick or (), by, organ)


def _say(line: str) -> None:
    console().print(line, highlight=False, soft_wrap=True)
