"""Viewer pages made when somebody asks, kept until their study changes, and never written into the run store."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

from steelyard.views.viewer.sources import write_study_viewer

Stamp = tuple[tuple[str, int], ...]


class Viewers:
    """Pages by study folder, in a folder of this server's own that goes with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="steelyard-serve-")
        self._pages: dict[Path, tuple[Stamp, Path]] = {}
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._numbers = itertools.count()

    def page(self, study: Path, *, back: str) -> Path:
        """The study's page, made anew when a run got done since. Raises BadData where there is nothing to show."""
        with self._locks[study]:  # of two readers who ask at once the second finds the first one's page
            stamp = _stamp(study)
            known = self._pages.get(study)
            if known is None or known[0] != stamp:
                out = Path(self._folder.name) / f"{next(self._numbers)}.html"
                page = write_study_viewer(study, out, back=back)
                if known is not None:
                    known[1].unlink(missing_ok=True)
                known = self._pages[study] = stamp, page
            return known[1]

    def close(self) -> None:
        self._folder.cleanup()


def _stamp(study: Path) -> Stamp:
    """Which runs are done, since when."""
    return tuple((done.parent.name, done.stat().st_mtime_ns) for done in sorted(study.glob("*/DONE")))
