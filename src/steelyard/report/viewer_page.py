"""From a case in a table to its images: the viewer page beside the report, and the way to each case on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from steelyard.errors import BadData
from steelyard.report.label_maps import image_file
from steelyard.report.read import Run, Study
from steelyard.views.shown_cases import prediction_names
from steelyard.views.viewer.page import viewer_link
from steelyard.views.viewer.sources import STUDY_PAGE, write_study_viewer

MOST_CASES = 40  # of a page written with every report: beyond some 100 MB a page is made when somebody asks for it
FROM_CASES = f"../{STUDY_PAGE.name}"  # from <study>/report/cases to <study>/report


@dataclass(frozen=True)
class Viewer:
    """What the case pages know of the viewer page: its names for the runs, or in `missing` why there is no page."""

    study: Study
    missing: str = ""
    names: dict[str, str] = field(default_factory=dict, repr=False)

    def link(self, run: Run, case_id: str, organ: str = "") -> str:
        """The address of a case under a run, from a page of cases; empty where it cannot be shown."""
        is_kept = run.files.prediction(case_id).is_file() and image_file(self.study, case_id).is_file()
        if self.missing or not is_kept:
            return ""
        return FROM_CASES + viewer_link(case_id, self.names[run.run], organ)


def viewer_beside(study: Study) -> Viewer:
    """Write the study's viewer page beside its report; of a large study, find the one that `steelyard view` wrote."""
    names = prediction_names(study, study.done, every_seed=True)
    count = sum(1 for _ in (study.folder / "cases").glob("*/image.nii.gz"))
    if count > MOST_CASES:
        if (study.folder / STUDY_PAGE).is_file():
            return Viewer(study, names=names)
        return Viewer(study, f"{count} cases make a large page: `steelyard view` writes it when it is wanted.")
    try:
        write_study_viewer(study.folder, back="index.html")
    except BadData as error:
        return Viewer(study, str(error))
    return Viewer(study, names=names)
