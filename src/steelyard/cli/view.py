"""The verbs that show cases in a browser."""

from __future__ import annotations

from pathlib import Path

from steelyard.cli.app import app, console


@app.command
def view(what: Path, *, image: Path | None = None, reference: Path | None = None, out: Path | None = None) -> None:
    """Write a page that shows cases in any browser, offline: slices, outlines, errors, organs in 3-D, and scores.

    Parameters
    ----------
    what
        A study (its TOML file or its folder), the folder of one run, or a label map (NIfTI).
    image
        The image that a label map belongs to.
    reference
        The expert's label map to set beside it.
    out
        The page's file; report/viewer.html in a study's folder, viewer.html in a run's when left out.
    """
    from steelyard.views.viewer.sources import write_viewer_of

    if what.suffix == ".toml":
        from steelyard.study.spec import read_spec

        what = read_spec(what).folder
    page = write_viewer_of(what, image=image, reference=reference, out=out)
    console().print(f"viewer: {page}", highlight=False, soft_wrap=True)
