"""What the values of a folder's label maps are called, where an nnU-Net dataset.json beside them says it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import BadData

DESCRIPTION = "dataset.json"
LABEL_FOLDERS = re.compile(r"labels\w*|gt_segmentations")  # nnU-Net's: their dataset.json lies one folder up
NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class ValueNames:
    """Names of values, as a dataset.json gives them.

    Attributes:
        ignored: the value of voxels that nobody labelled, where there is one.
        refusal: why the names do not do, in a line: some are regions of several values, which overlap.
    """

    file: Path
    names: dict[int, str]
    ignored: int | None = None
    refusal: str | None = None


def value_names(folder: Path) -> ValueNames | None:
    """From dataset.json in the folder, or above it for labelsTr and its like; None where there is none, or no labels.

    Raises:
        BadData: a dataset.json that cannot be read or makes no sense.
    """
    places = [folder, *([folder.parent] if LABEL_FOLDERS.fullmatch(folder.name) else [])]
    for file in (place / DESCRIPTION for place in places):
        if file.is_file():
            labels = _labels(file)
            return None if labels is None else _named(labels, file)
    return None


def _labels(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadData(f"{file} cannot be read ({error.strerror}). Copy it again.", file=file) from None
    except ValueError as error:  # JSON and UTF-8 errors; the first line says where
        raise BadData(f"{file} is not JSON ({str(error).splitlines()[0]}). Correct it.", file=file) from None
    labels = content.get("labels") if isinstance(content, dict) else None
    return labels if isinstance(labels, dict) and labels else None


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
