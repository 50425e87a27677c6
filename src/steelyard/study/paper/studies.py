"""The study files that together make the paper, in the order in which they are run."""

from __future__ import annotations

from pathlib import Path

from steelyard.errors import BadSpec

STUDIES = ("table1", "table2", "table3", "table3-fcn", "table4", "augmentation-off", "sequence-split")


def paper_studies(folder: Path) -> tuple[Path, ...]:
    """The TOML files of `folder`, `table1.toml` first; one that is left out has no part of the page.

    Raises:
        BadSpec: the folder has none of `STUDIES`, or a TOML file of another name, which the page has no place for.
    """
    found = {path.stem: path for path in folder.glob("*.toml")}
    known = ", ".join(f"{name}.toml" for name in STUDIES)
    errors = [
        f"{path}: the page of the paper has no place for this study. Known: {known}."
        for name, path in sorted(found.items())
        if name not in STUDIES
    ]
    if errors:
        raise BadSpec(*errors)
    if not found:
        raise BadSpec(f"{folder} holds no study of the paper. Known: {known}.")
    return tuple(found[name] for name in STUDIES if name in found)
