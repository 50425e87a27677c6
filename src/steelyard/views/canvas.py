"""Sheets of pictures with words beside them, drawn without a screen: what figures and films are laid out on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from steelyard.labels import Organ
from steelyard.views.slices import SCALE_BAR_MM

TEXT_PX = 17
GAP_PX = 14
LINE_PX = TEXT_PX + 7
SWATCH_PX = 13

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Paper:
    """What is drawn on, and in which colour the words stand on it."""

    ground: Colour
    ink: Colour


BLACK = Paper((0, 0, 0), (225, 225, 225))
WHITE = Paper((255, 255, 255), (30, 30, 30))


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture, RGB (row, column, 3), with the words above it, one entry a line."""

    pixels: np.ndarray
    words: tuple[str, ...] = ()


def scaled(pixels: np.ndarray, pixel_mm: tuple[float, float], px_per_mm: float, *, smooth: bool) -> np.ndarray:
    """A slice's pixels (grey, RGB or labels; uint8) in true proportions at a scale; labels keep sharp edges."""
    height, width = (max(1, round(n * mm * px_per_mm)) for n, mm in zip(pixels.shape[:2], pixel_mm, strict=True))
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))


def marked(
    pixels: np.ndarray,
    *,
    paper: Paper,
    px_per_mm: float,
    left: str = "",
    right: str = "",
    top: str = "",
    bottom: str = "",
    bar: bool = True,
) -> np.ndarray:
    """The picture with the names of its sides, and a bar of 5 cm in its lower right corner."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw, height, width = ImageDraw.Draw(image), pixels.shape[0], pixels.shape[1]
    for letter, at, anchor in (
        (left, (5, height / 2), "lm"),
        (right, (width - 5, height / 2), "rm"),
        (top, (width / 2, 4), "ma"),
        (bottom, (width / 2, height - 4), "md"),
    ):
        draw.text(at, letter, paper.ink, font(TEXT_PX), anchor=anchor, stroke_width=2, stroke_fill=paper.ground)
    length, y, end = SCALE_BAR_MM * px_per_mm, height - 9, width - 10
    if bar and length < width - 60:
        draw.line([(end - length, y), (end, y)], paper.ink, 3)
        words = f"{SCALE_BAR_MM // 10} cm"
        at = end - length - 5, y + 1
        draw.text(at, words, paper.ink, font(TEXT_PX - 3), anchor="rm", stroke_width=2, stroke_fill=paper.ground)
    return np.asarray(image)


def sheet(
    rows: Sequence[Sequence[Panel]], organs: Sequence[Organ], *, paper: Paper, foot: Sequence[str] = ()
) -> Image.Image:
    """Rows of panels, columns aligned and as wide as their widest, with the organs' colours and `foot` below."""
    count = max(len(row) for row in rows)
    widths = [
        max(max(row[c].pixels.shape[1], _words_px(row[c].words)) if c < len(row) else 0 for row in rows)
        for c in range(count)
    ]
    heights = [max(p.pixels.shape[0] + LINE_PX * len(p.words) for p in row) for row in rows]
    entries = _legend(organs, sum(widths) + GAP_PX * (count - 1))
    below = LINE_PX * (len(entries) + len(foot))
    foot_px = _words_px(foot)
    size = (
        max(sum(widths) + GAP_PX * (count + 1), foot_px + 2 * GAP_PX),
        sum(heights) + GAP_PX * (len(rows) + 1) + (below + GAP_PX if below else 0),
    )
    page = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), paper.ground)  # films want even sides
    draw, y = ImageDraw.Draw(page), GAP_PX
    for row, height in zip(rows, heights, strict=True):
        x = GAP_PX
        for panel, width in zip(row, widths, strict=False):
            for number, words in enumerate(panel.words):
                draw.text((x, y + number * LINE_PX), words, paper.ink, font(TEXT_PX))
            page.paste(Image.fromarray(np.ascontiguousarray(panel.pixels)), (x, y + LINE_PX * len(panel.words)))
            x += width + GAP_PX
        y += height + GAP_PX
    for line in entries:
        x = GAP_PX
        for organ in line:
            top = y + (LINE_PX - SWATCH_PX) // 2 - 2
            draw.rectangle([x, top, x + SWATCH_PX, top + SWATCH_PX], organ.colour)
            draw.text((x + SWATCH_PX + 6, y), organ.title, paper.ink, font(TEXT_PX))
            x += _entry_px(organ)
        y += LINE_PX
    for words in foot:
        draw.text((GAP_PX, y), words, paper.ink, font(TEXT_PX))
        y += LINE_PX
    return page


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: it has the signs that captions use."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _legend(organs: Sequence[Organ], width: int) -> list[list[Organ]]:
    lines: list[list[Organ]] = []
    used = width + 1
    for organ in organs:
        if used + _entry_px(organ) > width:
            lines.append([])
            used = 0
        lines[-1].append(organ)
        used += _entry_px(organ)
    return lines


def _entry_px(organ: Organ) -> int:
    return SWATCH_PX + 6 + round(font(TEXT_PX).getlength(organ.title)) + 22


def _words_px(words: Sequence[str]) -> int:
    return round(max((font(TEXT_PX).getlength(line) for line in words), default=0))
