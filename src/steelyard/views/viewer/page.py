"""A page to look at cases with: slices, outlines, errors and surfaces in any browser, one file, no network."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from steelyard.errors import BadData
from steelyard.io.nifti import LPS_FROM_RAS, REVERSED
from steelyard.labels import LabelSet
from steelyard.runstore import write_atomically, writing_to
from steelyard.views.shown_cases import DICE, ShownCase
from steelyard.views.slices import WINDOW_PERCENTILES, hex_colour
from steelyard.views.viewer.pack import pack_image, pack_labels

SCRIPTS = (
    "vendor/niivue-0.69.0.umd.js",
    "contours.js",
    "surfaces.js",
    "unpack.js",
    "adapter.js",
    "layers.js",
    "counts.js",
    "viewer.js",
)
ERRORS = {  # Okabe & Ito's palette, without the colours that organs have
    "missed": ("missed: reference only", (0, 114, 178)),
    "spilled": ("spilled: prediction only", (230, 159, 0)),
    "wrong": ("another organ", (204, 121, 167)),
}
SHOWN_SCORES = {"dice": DICE, "iou": ("iou", "counts"), "hd95_mm": ("hd95_mm", "chaos")}
AIR_HU = -500  # no MR image goes below it, and every CT image does
SOFT_TISSUE_HU = (-160.0, 240.0)
MARKER = "<!-- data and scripts -->"


@dataclass(frozen=True)
class _Row:
    """One case under one prediction, as the list shows it."""

    case_id: str
    prediction: str
    link: str
    mean: float | None
    organ_values: tuple[float | None, ...]


def viewer_link(case_id: str, prediction: str = "", organ: str = "") -> str:
    """What follows the page's address to open it at a case: `#case=mr-01_t1_in&prediction=dice&organ=liver`."""
    parts = {"case": case_id, "prediction": prediction, "organ": organ}
    return "#" + "&".join(f"{key}={quote(value, safe='')}" for key, value in parts.items() if value)


def write_viewer(path: Path, cases: Iterable[ShownCase], *, title: str, note: str = "", back: str = "") -> Path:
    """Write one HTML file that shows the cases, each with its image, reference and predictions; returns `path`.

    Cases are taken one by one, so that a study larger than the memory can be written. Only case ids identify them.

    Args:
        note: a line under the list of cases.
        back: the address of the report that the page belongs to.

    Raises:
        BadData: there is no case, or the file cannot be written.
    """
    with writing_to(path), tempfile.TemporaryFile("w+", encoding="utf-8", dir=_folder(path)) as blocks:
        entries, rows, label_set = _pack_all(cases, blocks)
        before, after = _frame(title, note, back, rows, label_set, len(entries)).split(MARKER)

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(before)
                blocks.seek(0)
                shutil.copyfileobj(blocks, file)
                _write_index(file, title, entries, label_set)
                for name in SCRIPTS:
                    file.write(f"<script>\n{_inline(name)}\n</script>\n")
                file.write(after)

        write_atomically(path, write)
    return path


def _folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _pack_all(cases: Iterable[ShownCase], blocks: IO[str]) -> tuple[list[dict[str, Any]], list[_Row], LabelSet]:
    entries: list[dict[str, Any]] = []
    rows: list[_Row] = []
    label_set: LabelSet | None = None
    for number, case in enumerate(cases):
        label_set = label_set or case.label_set
        if case.label_set != label_set:
            raise BadData(f"case {case.case_id} has other organs than the cases before it. Make a page of each kind.")
        entries.append(_pack(case, number, blocks))
        rows += _rows(case)
    if label_set is None:
        raise BadData("there is no case to be shown. Name a folder with predictions and their images.")
    return entries, sorted(rows, key=lambda row: (row.mean is None, row.mean or 0.0, row.case_id)), label_set


def _pack(case: ShownCase, number: int, blocks: IO[str]) -> dict[str, Any]:
    """Write the case's voxels as blocks; returns its entry in the page's index."""
    geometry, intensities = case.image.geometry, case.image.intensities
    first = intensities if intensities.ndim == 3 else intensities[0]
    image = pack_image(first)
    names = {"image": f"image-{number}", "reference": f"reference-{number}"}
    _block(blocks, names["image"], image.text)
    if case.reference is not None:
        _block(blocks, names["reference"], pack_labels(case.reference.labels))
    predictions = []
    for place, (name, prediction) in enumerate(case.predictions.items()):
        _block(blocks, f"prediction-{number}-{place}", pack_labels(prediction.labels))
        predictions.append({"name": name, "block": f"prediction-{number}-{place}", "scores": _scores(case, name)})
    return {
        "id": case.case_id,
        "shape": list(geometry.shape),
        "affine": (LPS_FROM_RAS @ geometry.affine[:, REVERSED]).tolist(),  # RAS mm of (i, j, k)
        "slope": image.slope,
        "inter": image.inter,
        "window": _window(first),
        "voxelMl": geometry.voxel_ml,
        "image": names["image"],
        "reference": names["reference"] if case.reference is not None else None,
        "predictions": predictions,
    }


def _scores(case: ShownCase, prediction: str) -> dict[str, dict[str, float]]:
    found = {}
    for organ in case.label_set.organs:
        values = {name: case.score(prediction, organ.name, key) for name, key in SHOWN_SCORES.items()}
        found[organ.name] = {name: value for name, value in values.items() if value is not None}
    return found


def _rows(case: ShownCase) -> list[_Row]:
    rows = []
    for name in case.predictions or ("",):
        values = tuple(case.score(name, organ.name) for organ in case.label_set.organs)
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if known else None
        rows.append(_Row(case.case_id, name, viewer_link(case.case_id, name), mean, values))
    return rows


def _window(intensities: np.ndarray) -> list[float]:
    """The grey values that are black and white at first: CT in Hounsfield units by custom, else percentiles."""
    if intensities.min() < AIR_HU:
        return list(SOFT_TISSUE_HU)
    low, high = (float(value) for value in np.percentile(intensities, WINDOW_PERCENTILES))
    return [low, high] if high > low else [low, low + 1.0]


def _frame(title: str, note: str, back: str, rows: Sequence[_Row], label_set: LabelSet, case_count: int) -> str:
    environment = Environment(
        loader=PackageLoader("steelyard.views.viewer", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("viewer.html.j2").render(
        title=title,
        note=note,
        back=back,
        rows=rows,
        case_count=case_count,
        has_scores=any(row.mean is not None for row in rows),
        organs=[{"name": o.name, "title": o.title, "css": hex_colour(o.colour)} for o in label_set.organs],
        errors=[{"name": name, "title": said, "css": hex_colour(colour)} for name, (said, colour) in ERRORS.items()],
        css=Markup(_read("viewer.css")),
        marker=Markup(MARKER),
    )


def _write_index(file: IO[str], title: str, entries: list[dict[str, Any]], label_set: LabelSet) -> None:
    index = {
        "title": title,
        "organs": [
            {"name": o.name, "title": o.title, "index": o.index, "colour": list(o.colour)} for o in label_set.organs
        ],
        "errorColours": {name: list(colour) for name, (_, colour) in ERRORS.items()},
        "cases": entries,
    }
    text = json.dumps(index, separators=(",", ":")).replace("<", "\\u003c")  # no id can end the script
    file.write(f'<script type="application/json" id="index">{text}</script>\n')


def _block(blocks: IO[str], name: str, text: str) -> None:
    blocks.write(f'<script type="application/octet-stream" id="{name}">{text}</script>\n')


def _inline(name: str) -> str:
    """A script that may stand in a page: no string in it ends or hides the script."""
    return _read(name).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
