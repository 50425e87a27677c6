"""Verbs that draw cases: pairs of slices, stacked models, films, surfaces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import App, Parameter

from steelyard.cli.app import console
from steelyard.cli.contents import VERBS
from steelyard.cli.sources import ANY_CASE, EVERYTHING, Names, OneCase, Place, Shown

figure = App(name="figure", help=VERBS["figure"].sentence)

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
    shown: Shown = EVERYTHING,
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
    """
    from steelyard.views.figures import Choice, write_slices

    drawn = write_slices(out, shown.of(source), Choice(case, pick, by, organ), numbers=slice_, per_case=per_case)
    _say(f"{', '.join(drawn)}: {out}")


@figure.command
def model(
    source: Path,
    out: Path,
    *,
    one: OneCase = ANY_CASE,
    shown: Shown = EVERYTHING,
) -> None:
    """Draw a case as a stack of its slices in space, from above and below, in organ colours and in grey.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or an image (NIfTI) with label maps of any tool.
    out
        A .png file.
    """
    from steelyard.views.figures import write_model

    _say(f"{write_model(out, shown.of(source), one.choice)}: {out}")


@figure.command
def film(
    source: Path,
    out: Path,
    *,
    one: OneCase = ANY_CASE,
    fps: Positive = 4.0,
    shown: Shown = EVERYTHING,
) -> None:
    """Film a run through the slices of a case: reference and prediction on the image, side by side.

    Parameters
    ----------
    source
        A study's folder, a run's, or one that `predict` wrote; or an image (NIfTI) with label maps of any tool.
    out
        A .gif file; or .mp4, with pip install 'steelyard[video]'.
    fps
        Slices per second.
    """
    from steelyard.views.figures import write_case_film

    _say(f"{write_case_film(out, shown.of(source), one.choice, fps=fps)}: {out}")


@figure.command
def mesh(
    source: Path,
    out: Path,
    *,
    one: OneCase = ANY_CASE,
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
    of
        Which label map of the case: a prediction's name, or reference; the first prediction when left out.
    detail_mm
        Edge of the cells that surfaces are drawn in; the finest voxel spacing (at least 1.5 mm) when left out.
    labels
        Of a label map: organs and their values, as liver=63,spleen=252.
    """
    from steelyard.views.figures import Source, write_meshes

    for path in write_meshes(out, Source(source, labels=labels), one.choice, of=of, detail_mm=detail_mm):
        _say(f"written: {path}")


def _say(line: str) -> None:
    console().print(line, highlight=False, soft_wrap=True)
