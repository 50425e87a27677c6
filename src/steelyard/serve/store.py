"""What of a run store may be shown: its studies, by name, and of each only the files that are meant for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import BadData, SteelyardError
from steelyard.study.status import Status, study_status

STUDY_FILE = "study.json"
CARD = "card.html"  # of a calibration, whose parts are studies in folders of their own
PAGES = ("report", "metric-audit")  # folders of a study that hold pages
SHOWN = {
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
PREDICTIONS, VOLUME = "predictions", ".nii.gz"
LOCKED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what a damaged study.json leads to


@dataclass(frozen=True)
class Found:
    """A study of the store: its name there (`kidneys`, `chaos-calibrate/outer`), its folder, and how it stands.

    `status` is None where it cannot be told; `reason` then says why, in one line.
    """

    name: str
    folder: Path
    status: Status | None
    reason: str = ""

    @property
    def has_report(self) -> bool:
        return (self.folder / "report" / "index.html").is_file()

    @property
    def has_cases(self) -> bool:
        """Whether a run is done, so that there may be something to look at."""
        return self.status is not None and self.status.count("done") > 0


class Store:
    """A run store: the folder that holds the folders of studies, and nothing outside of it."""

    def __init__(self, root: Path) -> None:
        """Raises BadData where there is no such folder."""
        if not root.is_dir():
            raise BadData(f"{root} is no folder. Name the folder that holds the runs of studies.", file=root)
        self._root = root.resolve()

    @property
    def root(self) -> Path:
        return self._root

    def studies(self) -> list[Found]:
        """Every study, by name: folders with a study.json, also those inside a calibration's."""
        return [self._look(name, folder) for name, folder in sorted(self._folders().items()) if _is_study(folder)]

    def cards(self) -> list[str]:
        """The names of the calibrations that have a decision card."""
        return sorted(name for name, folder in self._folders().items() if self._inside(folder / CARD))

    def study(self, name: str) -> Found | None:
        """The study of that name, None where there is none."""
        folder = self._folders().get(name)
        return self._look(name, folder) if folder is not None and _is_study(folder) else None

    def split(self, path: str) -> tuple[str, str] | None:
        """`chaos-calibrate/outer/report/index.html` as the folder's name and the rest; None where no folder fits."""
        known = self._folders()
        for name in sorted((n for n in known if path == n or path.startswith(n + "/")), key=len, reverse=True):
            return name, path[len(name) :].strip("/")
        return None

    def file(self, name: str, rest: str) -> Path | None:
        """A file of a study that may be shown: a page or table of its report, a card, a prediction. None for any other.

        Neither `..` nor a link leads out of the store: what counts is where a path ends.
        """
        folder = self._folders().get(name)
        parts = rest.split("/")
        if folder is None or any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            return None
        if not _may_be_shown(parts):
            return None
        path = folder.joinpath(*parts)
        return path if self._inside(path) else None

    def _look(self, name: str, folder: Path) -> Found:
        try:
            return Found(name, folder, study_status(folder))
        except SteelyardError as error:
            return Found(name, folder, None, " ".join(str(error).split()))
        except LOCKED as error:
            return Found(name, folder, None, f"study.json is damaged ({type(error).__name__}). Run the study again.")

    def _folders(self) -> dict[str, Path]:
        """Folders of the store and those inside them, by name; links that lead out are left out."""
        found = {}
        for folder in self._within(self._root):
            found[folder.name] = folder
            if not _is_study(folder):
                found |= {f"{folder.name}/{inner.name}": inner for inner in self._within(folder)}
        return found

    def _within(self, folder: Path) -> list[Path]:
        try:
            inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
            return [path for path in inner if path.resolve().is_relative_to(self._root)]
        except OSError:  # a folder that may not be read, or is gone
            return []

    def _inside(self, path: Path) -> bool:
        try:
            return path.is_file() and path.resolve().is_relative_to(self._root)
        except (OSError, ValueError):
            return False


def _is_study(folder: Path) -> bool:
    return (folder / STUDY_FILE).is_file()


def _may_be_shown(parts: list[str]) -> bool:
    *folders, file = parts
    if not folders:
        return file == CARD
    if folders[0] in PAGES:
        return Path(file).suffix in SHOWN
    return len(folders) == 2 and folders[1] == PREDICTIONS and file.endswith(VOLUME)
