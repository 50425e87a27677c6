"""One picture per case to look at before anything is trusted: the largest section of every organ, bare and coloured."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from steelyard.inference.volumes import OrganVolume
from steelyard.runstore import write_bytes
from steelyard.views import slices
from steelyard.views.canvas import BLACK, Panel, marked, sheet
from steelyard.views.case_on_screen import CaseOnScreen
from steelyard.views.shown_cases import ShownCase
from steelyard.volume import LabelMap, Volume

PANEL_PX = 380  # of the longest side of any picture
COMPRESSION = 3  # of zlib: as small as at its usual 6, in less than half the time
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H", "S": "I", "I": "S"}


def write_preview(
    path: Path, name: str, image: Volume, label_map: LabelMap, volumes: Sequence[OrganVolume], *, caption: str = ""
) -> None:
    """A PNG file: above the image as it is (its first channel), below the organs in their colours over it.

    Where no organ was found, the middle slice is shown. Volumes and what makes them doubtful stand below.
    """
    intensities = image.intensities if image.intensities.ndim == 3 else image.intensities[0]
    case = ShownCase(name, Volume(intensities, image.geometry), None, {"prediction": label_map})
    screen = CaseOnScreen(case)
    px_per_mm = PANEL_PX / max(screen.size_mm)
    left, top = slices.displayed_sides(image.geometry)
    bare: list[Panel] = []
    coloured: list[Panel] = []
    for index, organs in sections(label_map).items():
        where = f"slice {index + 1} of {image.geometry.shape[0]}"
        plain, painted = screen.image(index, px_per_mm), screen.on_image(label_map, index, px_per_mm)
        for pixels, row, words in ((plain, bare, (where, organs)), (painted, coloured, ())):
            shown = marked(pixels, paper=BLACK, px_per_mm=px_per_mm, left=left, right=OPPOSITE[left], top=top)
            row.append(Panel(shown, words))
    foot = [said(volume) for volume in volumes] + ([caption] if caption else [])
    page = sheet([bare, coloured], label_map.label_set.organs, paper=BLACK, foot=[name, *foot])
    buffer = io.BytesIO()
    page.save(buffer, "PNG", compress_level=COMPRESSION)
    write_bytes(path, buffer.getvalue())


def sections(label_map: LabelMap) -> dict[int, str]:
    """The slices to be shown, in order, each with the organs whose largest section it is; the middle one if none."""
    found: dict[int, list[str]] = defaultdict(list)
    for organ in label_map.label_set.organs:
        index = slices.largest_slice(label_map.labels == organ.index)
        if index is not None:
            found[index].append(organ.title)
    if not found:
        return {label_map.geometry.shape[0] // 2: "no organ found"}
    return {index: ", ".join(found[index]) for index in sorted(found)}


def said(volume: OrganVolume) -> str:
    """`right kidney 198.9 ml (cut off at the last slice)`."""
    number = "undefined" if volume.ml is None else f"{volume.ml:.1f} ml"
    flag = f" ({volume.flag})" if volume.flag else ""
    return f"{volume.organ.replace('_', ' ')} {number}{flag}"
