"""Where losses spent their gradient, as recorded while they trained: shares by kind of pixel and by organ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from steelyard.report.comparison import Comparison
from steelyard.report.read import BACKGROUND
from steelyard.report.table import Cell, Header, Row, Section, Table
from steelyard.study.gradient_kinds import KINDS
from steelyard.views.slices import hex_colour

# Wrong pixels are strong, right ones pale; neighbours differ in lightness as well, for colour-blind readers and print.
KIND_COLOURS = {
    "missed": "#b5302a",
    "spilled": "#0072b2",
    "spilled_organ_free": "#8cc3ea",
    "boundary": "#efc667",
    "interior": "#a5d6bf",
    "background": "#cfcfd4",
    "background_organ_free": "#ececf0",
}
BACKGROUND_COLOUR = "#cfcfd4"


@dataclass(frozen=True)
class Band:
    """One layer of a stack: `name` as in the shares, `title` in words."""

    name: str
    title: str
    colour: str


@dataclass(frozen=True)
class Spent:
    """One loss's shares over the epochs, by band name; None after an epoch where no run's gradient could be shared out.

    Means over `runs` runs, those that were looked at after the epoch.
    """

    loss: str
    shares: dict[int, dict[str, float] | None]
    runs: int

    @property
    def last(self) -> tuple[int, dict[str, float]] | None:
        """The last epoch with shares, and they; None where there is none."""
        return next(((epoch, found) for epoch, found in reversed(self.shares.items()) if found), None)


def kind_bands() -> tuple[Band, ...]:
    """Wrong pixels first."""
    return tuple(Band(kind.name, kind.title, KIND_COLOURS[kind.name]) for kind in KINDS)


def organ_bands(comparison: Comparison) -> tuple[Band, ...]:
    """Organs in their own colours, then the background."""
    organs = [Band(organ.name, organ.title, hex_colour(organ.colour)) for organ in comparison.study.label_set.organs]
    return (*organs, Band(BACKGROUND, BACKGROUND, BACKGROUND_COLOUR))


def spent_by_kind(comparison: Comparison) -> tuple[Spent, ...]:
    """One per loss of which the gradient was recorded, in the plan's order."""
    return _spent(comparison, "kind", [band.name for band in kind_bands()])


def spent_by_organ(comparison: Comparison) -> tuple[Spent, ...]:
    """Likewise; of a network per organ, the shares are those of all the organs' networks together."""
    return _spent(comparison, "organ", [band.name for band in organ_bands(comparison)])


def gradient_table(comparison: Comparison) -> Table | None:
    """The shares after the last epoch, a column per loss; None where nothing was recorded."""
    sections = [
        _section("kind of pixel", kind_bands(), spent_by_kind(comparison), comparison),
        _section("organ", organ_bands(comparison), spent_by_organ(comparison), comparison),
    ]
    found = [spent for spent in spent_by_kind(comparison) if spent.last]
    if not found:
        return None
    runs = max(spent.runs for spent in found)
    means = f"; the mean over {runs} finished runs, fewer where planned ones are missing" if runs > 1 else ""
    return Table(
        comparison.named("gradient"),
        f"Share of the gradient{comparison.of_title} after the last epoch, on a few training slices{means}.",
        "on",
        comparison.headers,
        tuple(sections),
    )


def balance_sentence(comparison: Comparison) -> str:
    """What each loss spent on missed and on spilled pixels in the end; empty where nothing was recorded."""
    told = []
    for spent in spent_by_kind(comparison):
        if spent.last:
            _, shares = spent.last
            spilled = shares["spilled"] + shares["spilled_organ_free"]
            told.append(f"{spent.loss} {percent(shares['missed'])} on missed, {percent(spilled)} on spilled pixels")
    return f"After the last epoch: {'; '.join(told)}." if told else ""


def lacking_sentence(comparison: Comparison) -> str:
    """Which losses with a finished run have no record; empty where all have one."""
    recorded = {spent.loss for spent in spent_by_kind(comparison)}
    lacking = [c.loss for c in comparison.conditions if c.done and c.loss not in recorded]
    return f"Not recorded while training: {', '.join(lacking)}." if lacking else ""


def percent(share: float) -> str:
    """`31 %`; `< 1 %` for what is less and not nothing."""
    return "< 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _spent(comparison: Comparison, by: str, names: Sequence[str]) -> tuple[Spent, ...]:
    rows = _recorded(comparison)
    found = []
    for condition in comparison.conditions:
        own = rows.filter(pl.col("loss") == condition.loss)
        if own.is_empty():
            continue
        shares: dict[int, dict[str, float] | None] = dict.fromkeys(own["epoch"].unique().sort().to_list())
        own = own.drop_nulls("value")
        runs = dict(own.group_by("epoch").agg(pl.col("run").n_unique()).iter_rows())
        added = {
            (epoch, name): value
            for epoch, name, value in own.group_by("epoch", by).agg(pl.col("value").sum()).iter_rows()
        }
        for epoch, count in runs.items():
            shares[epoch] = {name: added.get((epoch, name), 0.0) / count for name in names}
        found.append(Spent(condition.loss, shares, max(runs.values(), default=0)))
    return tuple(found)


def _recorded(comparison: Comparison) -> pl.DataFrame:
    names = {kind.quantity: kind.name for kind in KINDS}
    return comparison.study.history.filter(
        pl.col("quantity").is_in(list(names)),
        pl.col("network") == comparison.network,
        pl.col("task") == comparison.task,
    ).with_columns(pl.col("quantity").replace_strict(names, default=None, return_dtype=pl.String).alias("kind"))


def _section(title: str, bands: tuple[Band, ...], found: tuple[Spent, ...], comparison: Comparison) -> Section:
    last = {spent.loss: spent.last[1] for spent in found if spent.last}
    return Section(
        title,
        tuple(
            Row(
                Header(band.title),
                tuple(Cell(last[c.loss][band.name]) if c.loss in last else Cell() for c in comparison.conditions),
            )
            for band in bands
        ),
    )
