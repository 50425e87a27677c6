"""The verbs that show cases in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from steelyard.cli.app import console
from steelyard.cli.sources import EVERYTHING, Shown


def view(
    source: Path,
    *,
    shown: Shown = EVERYTHING,
    out: Path | None = None,
) -> None:
    """Write a page that shows cases in any browser, offline: slices, outlines, errors, organs in 3-D, and scores.

    Parameters
    ----------
    source
        A study (its TOML file or folder), a run's folder, or one that `predict` wrote; or an image (NIfTI) with label
        maps of any tool.
    out
        The page's file; report/viewer.html in a study's folder, viewer.html in another when left out.
    """
    from steelyard.views.viewer.sources import write_viewer_of

    if source.suffix == ".toml":
        from steelyard.study.spec import read_spec

        source = read_spec(source).folder
    page = write_viewer_of(shown.of(source), out)
    console().print(f"viewer: {page}", highlight=False, soft_wrap=True)


def serve(
    runs: Path = Path("runs"),
    *,
    port: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=0, lte=65535))] = 8765,
) -> None:
    """Show all studies of a run store in a browser of this machine: how far they are, reports, cases. Ctrl-C ends it.

    Only this machine can ask (127.0.0.1), and only for reading.

    Parameters
    ----------
    runs
        The folder that holds the runs of studies.
    port
        Where to listen; 0 takes any port that is free.
    """
    from steelyard.serve.run import serve as serve_store

    def tell(address: str) -> None:
        console().print(f"studies: {address} (Ctrl-C ends it)", highlight=False, soft_wrap=True)

    serve_store(runs, port=port, tell=tell)
