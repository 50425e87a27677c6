"""What a page can be made of: a study, a run, a folder of predictions, or an image with label maps of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.evaluate.mask_files import without_suffix
from steelyard.report.read import read_study
from steelyard.views.shown_cases import cases_of_run
from steelyard.views.viewer.page import write_viewer

if TYPE_CHECKING:
    from steelyard.views.figures import Source

PAGE = "viewer.html"
STUDY_PAGE = Path("report") / PAGE  # in a study's folder, beside the report that links to it
OF_EVERY_RUN = "One prediction per network, loss and seed; each case is held out of its own training."


def write_study_viewer(folder: Path, out: Path | None = None, *, back: str = "") -> Path:
    """The page of a study, `report/viewer.html` in its folder unless `out` says otherwise: every held-out case once.

    `back` is the address of the report that it belongs to; that beside it, where there is one, when left out.

    Raises:
        BadData: no study lies there, or it kept no prediction together with its image.
    """
    study = read_study(folder)
    cases = cases_of_run(folder, every_seed=True)
    if out is None and (folder / "report" / "index.html").is_file():
        back = back or "index.html"
    return write_viewer(out or folder / STUDY_PAGE, cases, title=study.name, note=OF_EVERY_RUN, back=back)


def write_viewer_of(source: Source, out: Path | None = None) -> Path:
    """The page of what `steelyard figure` draws, too: `viewer.html` in its folder, or beside an image, or `out`.

    A study is shown whole, each seed as a prediction of its own, unless predictions are named.

    Raises:
        BadSpec: options that do not go with the place; a prediction of no such name.
        BadData: there is nothing to show, or it cannot be read.
    """
    place = source.place
    if (place / "study.json").is_file() and not source.predictions:
        source.read()  # which refuses options that do not go with a folder
        return write_study_viewer(place, out)
    cases = source.read()
    title = without_suffix(place) if source.is_image else place.resolve().name
    usual = place.with_name(f"{title}-{PAGE}") if source.is_image else place / PAGE
    return write_viewer(out or usual, cases, title=title)
