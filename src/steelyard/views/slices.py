"""One slice of a case as a radiologist looks at it: patient's right on the left, front on top, true proportions."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.measure import find_contours

from steelyard.labels import LabelSet
from steelyard.volume import Geometry

WINDOW_PERCENTILES = (1.0, 99.5)  # of the whole volume: bright vessels and coil flare do not darken the organs
AIR_HU = -500  # every CT image goes below it, and no MR image does
SOFT_TISSUE_HU = (-160.0, 240.0)
BODY_THRESHOLD = 40  # of 255, after windowing: air and its noise stay below
MARGIN_MM = 8.0
SCALE_BAR_MM = 50
COLOUR_SHARE = 0.5  # of an organ's colour over the image
TOWARDS = (1, 1, -1)  # on screen, indices grow to the patient's left, to the back and to the feet (LPS signs)
SIDES = ("R", "A", "H")  # where indices start on screen, along x, y and z

REFERENCE_STROKE = "#ffffff"
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Outline:
    """Closed curves round one organ, as (x, y) in mm from the picture's upper left corner, and how they are drawn."""

    curves: tuple[np.ndarray, ...]
    colour: str
    dashed: bool = False


def displayed(stack: np.ndarray, geometry: Geometry, index: int) -> np.ndarray:
    """Slice `index` of a (slice, row, column) array, turned and mirrored for display, as (row, column)."""
    transpose, flip_rows, flip_columns = _turn(geometry)
    plane = stack[index].T if transpose else stack[index]
    plane = plane[::-1] if flip_rows else plane
    return plane[:, ::-1] if flip_columns else plane


def displayed_pixel_mm(geometry: Geometry) -> tuple[float, float]:
    """Height and width in mm of one pixel of a `displayed` slice."""
    _, row_mm, column_mm = geometry.spacing_mm
    return (column_mm, row_mm) if _turn(geometry)[0] else (row_mm, column_mm)


def displayed_sides(geometry: Geometry) -> tuple[str, str]:
    """Letters of a `displayed` slice's left and upper sides: R, A (anterior) or H (head)."""
    transpose = _turn(geometry)[0]
    row_axis, column_axis = geometry.affine[:3, 1], geometry.affine[:3, 2]
    across, down = (row_axis, column_axis) if transpose else (column_axis, row_axis)
    return SIDES[int(np.abs(across).argmax())], SIDES[int(np.abs(down).argmax())]


def largest_slice(mask: np.ndarray) -> int | None:
    """Index of the slice with the most voxels of a (slice, row, column) mask, the first of equals; None if empty."""
    areas = mask.reshape(len(mask), -1).sum(1)
    return int(areas.argmax()) if areas.any() else None


def grey_window(intensities: np.ndarray) -> tuple[float, float]:
    """The values that are shown black and white: of CT those of soft tissue, of MR two percentiles of the volume."""
    if intensities.min() < AIR_HU:
        return SOFT_TISSUE_HU
    low, high = np.percentile(intensities, WINDOW_PERCENTILES)
    return float(low), float(high)


def windowed(intensities: np.ndarray) -> np.ndarray:
    """Grey values (uint8) between the ends of `grey_window`; a constant volume turns black."""
    low, high = grey_window(intensities)
    if high <= low:
        return np.zeros(intensities.shape, np.uint8)
    return np.round(np.clip((intensities - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def on_black(labels: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Class indices (row, column) as RGB (row, column, 3): organs in their colours, background black."""
    colours = np.array([(0, 0, 0), *(organ.colour for organ in label_set.organs)], np.uint8)
    return colours[labels]


def over_image(grey: np.ndarray, labels: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """A grey slice (row, column) as RGB, with the organs' colours laid over it, half transparent."""
    image = np.repeat(grey[..., None], 3, axis=-1)
    mixed = np.round((1 - COLOUR_SHARE) * image + COLOUR_SHARE * on_black(labels, label_set)).astype(np.uint8)
    return np.where((labels > 0)[..., None], mixed, image)


def outline(mask: np.ndarray, pixel_mm: tuple[float, float], *, colour: str, dashed: bool = False) -> Outline:
    """The borders of a (row, column) mask, halfway between its pixels and their neighbours; none for an empty mask."""
    ring = np.pad(mask.astype(float), 1)  # so that curves close at the picture's edge
    curves = [(curve - 0.5) * pixel_mm for curve in find_contours(ring, 0.5)]  # pixel centre r lies at (r + ½) mm/px
    return Outline(tuple(curve[:, ::-1] for curve in curves), colour, dashed)


def body_box(grey: np.ndarray, labels: Sequence[np.ndarray], pixel_mm: tuple[float, float]) -> Box:
    """Rows and columns that hold the body and every label, with a margin: air around it is not worth the screen."""
    kept = grey >= BODY_THRESHOLD
    for plane in labels:
        kept = kept | (plane > 0)
    if not kept.any():
        return slice(0, kept.shape[0]), slice(0, kept.shape[1])
    rows, columns = np.asarray(kept.any(axis=1)), np.asarray(kept.any(axis=0))
    return _span(rows, pixel_mm[0]), _span(columns, pixel_mm[1])


def picture(
    pixels: np.ndarray,
    pixel_mm: tuple[float, float],
    *,
    alt: str,
    outlines: Sequence[Outline] = (),
    marks: bool = False,
) -> str:
    """An inline SVG in mm: the pixels (grey or RGB, embedded as PNG), outlines above them, R and a 5 cm bar if asked.

    Label pictures stay sharp-edged (`image-rendering: pixelated`); grey ones are smoothed by the browser.
    """
    height, width = pixels.shape[0] * pixel_mm[0], pixels.shape[1] * pixel_mm[1]
    sharp = ' style="image-rendering:pixelated"' if pixels.ndim == 3 else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="slice" viewBox="0 0 {width:.2f} {height:.2f}" role="img" '
        f'aria-label="{html.escape(alt)}"><title>{html.escape(alt)}</title>',
        f'<image width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none"{sharp} '
        f'href="data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"/>',
        *(_path(o) for o in outlines),
    ]
    if marks:
        parts.append(
            f'<text x="3" y="{height / 2:.1f}" class="mark">R</text>'
            f'<path class="bar" d="M{width - SCALE_BAR_MM - 5:.1f},{height - 5:.1f}h{SCALE_BAR_MM}"/>'
            f'<text x="{width - 5:.1f}" y="{height - 8:.1f}" class="mark end">{SCALE_BAR_MM // 10} cm</text>'
        )
    return "".join([*parts, "</svg>"])


def png(pixels: np.ndarray) -> bytes:
    """Grey (row, column) or RGB (row, column, 3) uint8 pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def hex_colour(colour: tuple[int, int, int]) -> str:
    """`(213, 94, 0)` as `#d55e00`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _turn(geometry: Geometry) -> tuple[bool, bool, bool]:
    """Whether to transpose a plane, then mirror its rows, then its columns, for radiological display."""
    row_axis, column_axis = geometry.affine[:3, 1], geometry.affine[:3, 2]
    row_runs, column_runs = int(np.abs(row_axis).argmax()), int(np.abs(column_axis).argmax())
    transpose = row_runs < column_runs  # x lies across the screen before y, y before z
    if transpose:
        row_axis, column_axis, row_runs, column_runs = column_axis, row_axis, column_runs, row_runs
    return (
        transpose,
        bool(row_axis[row_runs] * TOWARDS[row_runs] < 0),
        bool(column_axis[column_runs] * TOWARDS[column_runs] < 0),
    )


def _span(occupied: np.ndarray, step_mm: float) -> slice:
    margin = round(MARGIN_MM / step_mm)
    first, last = np.flatnonzero(occupied)[[0, -1]]
    return slice(max(int(first) - margin, 0), min(int(last) + margin + 1, len(occupied)))


def _path(drawn: Outline) -> str:
    if not drawn.curves:
        return ""
    lines = " ".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in curve[:-1]) + "Z" for curve in drawn.curves)
    return f'<path class="{"dashed" if drawn.dashed else "solid"}" stroke="{drawn.colour}" d="{lines}"/>'
