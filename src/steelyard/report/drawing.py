"""Lines, marks and words of hand-laid drawings, as inline SVG: no script, each mark named, readable without colour."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

INK, SOFT, RULE = "#222222", "#5a5a60", "#dddddd"
BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#8a8a90"  # Okabe & Ito: told apart by colour-blind readers
SHAPES = {  # of radius 1 about the origin
    "up": "M0,-1.15L1,0.75L-1,0.75Z",
    "down": "M0,1.15L1,-0.75L-1,-0.75Z",
    "circle": "M-0.85,0A0.85,0.85 0 1 0 0.85,0A0.85,0.85 0 1 0 -0.85,0Z",
    "square": "M-0.75,-0.75H0.75V0.75H-0.75Z",
    "diamond": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",
    "cross": "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8",
    "plus": "M-1,0H1M0,-1V1",
}
OPEN_SHAPES = {"cross", "plus"}


def drawing(width: float, height: float, parts: Iterable[str], *, alt: str) -> str:
    """The whole picture, in pixels; `alt` says in words what it shows."""
    said = html.escape(alt)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{said}" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def words(
    x: float, y: float, said: str, *, anchor: str = "start", size: float = 12, bold: bool = False, colour: str = INK
) -> str:
    """A line of text whose baseline lies at y."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour}"{weight}>'
        f"{html.escape(said)}</text>"
    )


def stroke(
    points: Sequence[tuple[float, float]],
    *,
    colour: str = INK,
    width: float = 1.2,
    dash: str = "",
    opacity: float = 1,
    title: str = "",
) -> str:
    """An open line through points (x, y)."""  # fmt: skip
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    faint = f' opacity="{opacity:g}"' if opacity < 1 else ""
    named = f"<title>{html.escape(title)}</title>" if title else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}{faint}>{named}</path>'


def mark(
    shape: str, x: float, y: float, *, size: float = 5, colour: str = INK, filled: bool = True, title: str = ""
) -> str:
    """One of `SHAPES` about (x, y); its title appears on hovering and is read aloud."""
    inside = colour if filled and shape not in OPEN_SHAPES else "#ffffff"
    named = f"<title>{html.escape(title)}</title>" if title else ""
    return (
        f'<path d="{SHAPES[shape]}" transform="translate({x:.1f},{y:.1f}) scale({size:g})" fill="{inside}" '
        f'stroke="{colour}" stroke-width="1.6" vector-effect="non-scaling-stroke">{named}</path>'
    )


def shortened(name: str, most: int) -> str:
    """A name in at most so many letters; its end gives way to `…`."""
    return name if len(name) <= most else name[: most - 1] + "…"


def ticks(low: float, high: float, *, about: int = 6) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about so many; around them where they are equal."""
    if math.isclose(low, high, abs_tol=1e-9):
        margin = max(abs(low) / 10, 0.1)
        low, high = low - margin, high + margin
    span = high - low
    power = 10 ** math.floor(math.log10(span / about))
    step = next(power * n for n in (1, 2, 5, 10) if power * n * about >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def scale(value: float, low: float, high: float, start: float, end: float) -> float:
    """The pixel of a value on an axis from `low` at `start` to `high` at `end`."""
    return start + (value - low) / (high - low) * (end - start)
