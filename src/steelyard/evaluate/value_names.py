"""What the values of a folder's label maps are called, where a file beside them says it: nnU-Net's or a study's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import BadData

DESCRIPTION = "dataset.json"
STUDY = "study.json"  # of our own studies, two folders above a run's predictions and a case's reference
LABEL_FOLDERS = re.compile(r"labels\w*|gt_segmentations")  # nnU-Net's: their dataset.json lies one folder up
NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class ValueNames:
    """Names of values, as a file gives them.

    Attributes:
        ignored: the value of voxels that nobody labelled, where there is one.
        refusal: why the names do not do, in a line: some are regions of several values, which overlap.
    """

    file: Path
    names: dict[int, str]
    ignored: int | None = None
    refusal: str | None = None


def value_names(folder: Path) -> ValueNames | None:
    """From dataset.json in the folder, or above it for labelsTr and its like; from study.json in a folder of a study.

    None where there is none, or no labels.

    Raises:
        BadData: a file that cannot be read or makes no sense.
    """
    places = [folder, *([folder.parent] if LABEL_FOLDERS.fullmatch(folder.name) else [])]
    for file in (place / DESCRIPTION for place in places):
        if file.is_file():
            labels = _content(file).get("labels")
            return _named(labels, file) if isinstance(labels, dict) and labels else None
    study = folder.resolve().parent.parent / STUDY
    return _of_study(study, folder.resolve()) if study.is_file() else None


def _of_study(file: Path, folder: Path) -> ValueNames | None:
    """The organs of a study; of a run that knows one organ, that one."""
    content = _content(file)
    try:
        names = {int(organ["index"]): str(organ["name"]) for organ in content["label_set"]["organs"]}
        organ_of = {str(run["run"]): run["organ"] for run in content["runs"]}
    except (KeyError, TypeError, ValueError):
        return None  # some other tool's study.json
    if folder.name == "predictions" and folder.parent.name in organ_of:
        only = organ_of[folder.parent.name]
        return ValueNames(file, names if only is None else {1: str(only)})
    return ValueNames(file, names) if folder.parent.name == "cases" else None


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadData(f"{file} cannot be read ({error.strerror}). Copy it again.", file=file) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors; the first line says where
        raise BadData(f"{file} is not JSON ({str(error).splitlines()[0]}). Correct it.", file=file) from None
    return content if isinstance(content, dict) else {}


def _named(labels: dict[str, Any], file: Path) -> ValueNames:
    if all(name.isdecimal() and isinstance(value, str) for name, value in labels.items()):  # nnU-Net v1's order
        labels = {name: int(value) for value, name in labels.items()}
    names: dict[int, str] = {}
    refusal = None
    for name, value in labels.items():
        if isinstance(value, list):
            refusal = refusal or (
                f"{file}: label {name!r} is a region of the values {value}, and regions overlap where one organ per "
                "voxel is wanted. Score one region at a time: --labels region.toml with "
                f'unlisted = "background" and [organs] {_called(name)} = {value}.'
            )
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadData(f"{file}: label {name!r} is {value!r} where a whole number is wanted. Correct it.")
        if value in names:
            raise BadData(f"{file}: labels {names[value]!r} and {name!r} share the value {value}. Give each its own.")
        names[value] = name if name == "ignore" else _called(name)
    ignored = next((value for value, name in names.items() if name == "ignore"), None)
    return ValueNames(file, {v: name for v, name in names.items() if v and v != ignored}, ignored, refusal)


def _called(name: str) -> str:
    return NOT_IN_NAMES.sub("_", name.strip()) or "_"
