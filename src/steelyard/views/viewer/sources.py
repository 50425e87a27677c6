"""What a page can be made of: a study, a run, or a label map of any tool with the image that it belongs to."""

from __future__ import annotations

from pathlib import Path

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.mask_files import without_suffix
from steelyard.report.read import read_study
from steelyard.views.shown_cases import case_of_files, cases_of_run
from steelyard.views.viewer.page import write_viewer

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


def write_viewer_of(
    what: Path, *, image: Path | None = None, reference: Path | None = None, out: Path | None = None
) -> Path:
    """The page of a study's or a run's folder, or of a label map (NIfTI) with its `image`; returns where it lies.

    Raises:
        BadSpec: an image or reference beside a folder, or a label map without image.
        BadData: there is nothing to show, or it cannot be read.
    """
    if what.is_dir():
        if image is not None or reference is not None:
            raise BadSpec(f"{what} is a folder and brings its own images. Leave --image and --reference out.")
        if (what / "study.json").is_file():
            return write_study_viewer(what, out)
        return write_viewer(out or what / PAGE, cases_of_run(what), title=what.resolve().name)
    if not what.exists():
        raise BadData(f"there is no file or folder {what}. Name a study, a run or a label map.", file=what)
    if image is None:
        raise BadSpec(f"a label map is shown on its image, and {what} has none with it. Add --image FILE.")
    name = without_suffix(what)
    case = case_of_files(image, {name: what}, reference=reference)
    return write_viewer(out or what.with_name(f"{name}-{PAGE}"), [case], title=case.case_id)
