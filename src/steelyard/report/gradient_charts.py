"""Where each loss spends its gradient while it trains, as stacked areas: every height is a share, all of them 100 %."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from itertools import groupby

from steelyard.report.charts import Chart
from steelyard.report.comparison import Comparison
from steelyard.report.drawing import INK, SOFT, drawing, scale, shortened, stroke, ticks, words
from steelyard.report.gradient_shares import (
    Band,
    Spent,
    kind_bands,
    organ_bands,
    percent,
    spent_by_kind,
    spent_by_organ,
)
from steelyard.study.gradient_kinds import KINDS

WIDTH, HEIGHT = 215.0, 190.0  # of the areas
LEFT, TOP, BOTTOM, RIGHT = 44.0, 8.0, 40.0, 184.0  # around them; labels stand on the right
LINE = 14.5  # pixels from one label to the next
MOST_LOOKS = 120  # more cannot be told apart at this width
ALONE = 2.0  # pixels to either side of a look whose neighbours have no shares
LONGEST = 20  # letters of an organ's name

Point = tuple[float, float]


def kind_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """One chart per loss of which the gradient was recorded; a heavy line parts wrong pixels from right ones."""
    wrong = sum(kind.wrong for kind in KINDS)
    return tuple(
        Chart(spent.loss, _stack(spent, kind_bands(), "kind of pixel", ruled=wrong))
        for spent in spent_by_kind(comparison)
    )


def organ_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """One chart per loss, in the organs' own colours: a wrong pixel is of the organ that it misses or invents."""
    return tuple(
        Chart(spent.loss, _stack(spent, organ_bands(comparison), "organ")) for spent in spent_by_organ(comparison)
    )


def _stack(spent: Spent, bands: tuple[Band, ...], of_what: str, *, ruled: int = 0) -> str:
    """The areas of all bands from the bottom up, under a heavy line above the first `ruled` of them."""
    right, bottom = LEFT + WIDTH, TOP + HEIGHT
    looks = _thinned(spent)
    first, last = looks[0][0], looks[-1][0]

    def at(epoch: float, share: float) -> Point:
        return scale(epoch, first, last, LEFT, right) if last > first else LEFT, scale(share, 0, 1, bottom, TOP)

    parts: list[str] = []
    parting: float | None = None  # where the heavy line ends
    for known, members in groupby(looks, key=lambda look: look[1] is not None):
        stretch = [(epoch, shares) for epoch, shares in members if shares is not None]
        if not known:
            continue
        epochs = [epoch for epoch, _ in stretch]
        edges = [[sum(shares[band.name] for band in bands[:n]) for _, shares in stretch] for n in range(len(bands) + 1)]
        lines = [_widened([at(*point) for point in zip(epochs, edge, strict=True)], last > first) for edge in edges]
        for band, lower, upper in zip(bands, lines, lines[1:], strict=False):
            parts.append(_area(lower, upper, band, _told(spent, band)))
        if ruled:
            parts.append(stroke(lines[ruled], colour=INK, width=2))
            parting = lines[ruled][-1][1]
    if parting is not None:
        parts.append(_wrong_below(parting))
    parts += _axes(at, first, last)
    parts += _labels(spent, bands)
    told = "; ".join(_told(spent, band) for band in bands)
    return drawing(
        right + RIGHT, bottom + BOTTOM, parts,
        alt=f"Share of the gradient of {spent.loss} by {of_what}, over the epochs. {told}.",
    )  # fmt: skip


def _axes(at: Callable[[float, float], Point], first: int, last: int) -> list[str]:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(first, share)
        parts.append(stroke([(x - 4, y), (x, y)], colour=SOFT, width=1))
        parts.append(words(x - 7, y + 4, f"{100 * share:.0f} %", anchor="end", size=11, colour=SOFT))
    if last > first:
        round_ones = [tick for tick in ticks(first, last, about=5) if first <= tick <= last and tick == int(tick)]
        nearest = (last - first) / 12  # to the first epoch's number
        epochs = [first, *(tick for tick in round_ones if tick - first > nearest)]
    else:
        epochs = [first]
    for epoch in epochs:
        x, y = at(epoch, 0)
        parts.append(stroke([(x, y), (x, y + 4)], colour=SOFT, width=1))
        parts.append(words(x, y + 17, f"{epoch:g}", anchor="middle", size=11, colour=SOFT))
    parts.append(words(LEFT + WIDTH / 2, TOP + HEIGHT + 35, "epoch", anchor="middle", size=11.5, colour=SOFT))
    return parts


def _labels(spent: Spent, bands: tuple[Band, ...]) -> list[str]:
    """Names and last shares to the right, each led to its band; of the widest bands where there is no room for all."""
    if spent.last is None:
        return [words(LEFT + 8, TOP + HEIGHT / 2, "no gradient at any look", size=11.5, colour=SOFT)]
    shares = spent.last[1]
    most = int(HEIGHT // LINE)
    named = sorted((band for band in bands if shares[band.name] > 0), key=lambda band: -shares[band.name])[:most]
    middles, below = {}, 0.0
    for band in bands:
        middles[band.name] = TOP + HEIGHT * (1 - below - shares[band.name] / 2)
        below += shares[band.name]
    named.sort(key=lambda band: middles[band.name])
    parts, right = [], LEFT + WIDTH
    for band, y in zip(named, _apart([middles[band.name] for band in named]), strict=True):
        parts.append(stroke([(right + 1, middles[band.name]), (right + 15, y)], colour=SOFT, width=0.8))
        parts.append(
            f'<rect x="{right + 17:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{band.colour}" stroke="{INK}" '
            'stroke-width="0.6"/>'
        )
        title = f"{shortened(band.title, LONGEST)} {percent(shares[band.name])}"
        parts.append(words(right + 31, y + 4, title, size=11.5))
    return parts


def _wrong_below(height: float) -> str:
    """Words on the end of the heavy line, in a halo: a band of any colour may lie under them."""
    y = max(height - 5, TOP + 13)
    halo = 'stroke="#ffffff" stroke-width="2.5" stroke-opacity="0.75" stroke-linejoin="round" paint-order="stroke"'
    return (
        f'<text x="{LEFT + WIDTH - 4:.1f}" y="{y:.1f}" font-size="10.5" text-anchor="end" fill="{INK}" {halo}>'
        "wrong pixels ↓</text>"
    )


def _apart(wanted: Sequence[float]) -> list[float]:
    """Heights in the same order, from the top, at least `LINE` apart and within the areas, near the wanted ones."""
    heights: list[float] = []
    for index, height in enumerate(wanted):
        lowest = TOP + LINE / 2 + index * LINE
        heights.append(max(height, lowest, heights[-1] + LINE if heights else lowest))
    floor = TOP + HEIGHT
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = min(heights[index], floor)
        floor = heights[index] - LINE
    return heights


def _area(lower: list[Point], upper: list[Point], band: Band, told: str) -> str:
    outline = "L".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
    return (
        f'<path d="M{outline}Z" fill="{band.colour}" stroke="#ffffff" stroke-width="0.6">'
        f"<title>{html.escape(told)}</title></path>"
    )


def _told(spent: Spent, band: Band) -> str:
    known = [(epoch, shares[band.name]) for epoch, shares in spent.shares.items() if shares is not None]
    if not known:
        return f"{band.title}: no gradient"
    ends = dict((known[0], known[-1]))
    return f"{band.title}: " + ", ".join(f"{percent(share)} after epoch {epoch}" for epoch, share in ends.items())


def _widened(line: list[Point], several: bool) -> list[Point]:
    """A look that stands alone gets a width: all of the chart where there is no other."""
    if len(line) > 1:
        return line
    ((x, y),) = line
    return [(max(LEFT, x - ALONE), y), (min(LEFT + WIDTH, x + ALONE), y)] if several else [(LEFT, y), (LEFT + WIDTH, y)]


def _thinned(spent: Spent) -> list[tuple[int, dict[str, float] | None]]:
    """Every k-th look, and the first and the last of all."""
    looks = list(spent.shares.items())
    step = -(-len(looks) // MOST_LOOKS)
    return [look for index, look in enumerate(looks) if index % step == 0 or index == len(looks) - 1]
