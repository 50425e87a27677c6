"""When a study said what it would compare: a family chosen after the results is no family, and readers must be told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steelyard.errors import BadSpec, unknown_name
from steelyard.records import study_record
from steelyard.runstore import read_json, write_json
from steelyard.study.spec import CompareTable, StudySpec


def declaration(folder: Path, compare: CompareTable, *, done: int, runs: int) -> dict[str, Any]:
    """The entry for `study.json`: the comparison, since when it stands, and how many runs were done by then.

    The one that stands is kept as long as the comparison is the same; a changed one starts anew.
    """
    wanted = compare.model_dump(mode="json")
    standing = _standing(folder)
    if standing is not None and standing.get("compare") == wanted:
        return standing
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"compare": wanted, "since": now, "done": done, "runs": runs}


def redeclare(spec: StudySpec) -> None:
    """Take over a `[compare]` that was edited since the study was last run, and note when.

    Raises:
        BadSpec: it names a loss or an organ that the study does not have.
    """
    file = spec.folder / "study.json"
    if not file.is_file():
        return
    content = study_record(spec.folder)
    losses = {run["loss"] for run in content["runs"]}
    organs = {organ["name"] for organ in content["label_set"]["organs"]}
    named = [*([] if spec.compare.baseline is None else [spec.compare.baseline]), *(spec.compare.losses or [])]
    errors = [unknown_name("loss of this study", name, losses) for name in named if name not in losses]
    errors += [unknown_name("organ", name, organs) for name in spec.compare.organs or [] if name not in organs]
    if errors:
        raise BadSpec(*errors)
    done = sum((spec.folder / run["run"] / "DONE").exists() for run in content["runs"])
    now = declaration(spec.folder, spec.compare, done=done, runs=len(content["runs"]))
    if content.get("declaration") != now:
        content["spec"]["compare"] = now["compare"]
        write_json(file, content | {"declaration": now})


def declared_when(content: dict[str, Any]) -> str:
    """A sentence for the report, from the content of `study.json`."""
    standing = content.get("declaration")
    if standing is None:
        return "When the comparisons were declared is not recorded."
    since = datetime.fromisoformat(standing["since"]).strftime("%Y-%m-%d %H:%M UTC")
    if standing["done"] == 0:
        return f"The comparisons were declared on {since}, before any run was done."
    return (
        f"The comparisons as they stand were declared on {since}, when {standing['done']} of {standing['runs']} runs "
        "were done and could have been looked at."
    )


def _standing(folder: Path) -> dict[str, Any] | None:
    try:
        standing = read_json(folder / "study.json").get("declaration")
    except (OSError, ValueError, AttributeError):
        return None
    return standing if isinstance(standing, dict) else None
