"""The comparisons with the baseline as a table, and how often each loss took each rank."""

from __future__ import annotations

import polars as pl

from steelyard.report.links import ALL_ORGANS, PAIRED, cases_link
from steelyard.report.statistics import Difference, Statistics
from steelyard.report.table import Cell, Header, Row, Section, Table

LEAST_SHOWN = 0.005  # a rank that rounds to 0 % for every loss gets no column


def difference_table(found: Statistics) -> Table:
    """Every comparison: difference, interval, p, Holm's p, what could have been seen, patients, and the verdict."""
    unit = found.measure.unit
    conditions = {condition.loss: condition for condition in found.comparison.conditions}
    sections = []
    for organ, title in found.organs:
        rows = []
        for d in found.of_organ(organ):
            link = cases_link(found.comparison.study, conditions[d.loss], PAIRED + (organ or ALL_ORGANS))
            rows.append(Row(Header(d.loss), _cells(d, link)))
        sections.append(Section(title if organ else f"{title} (outside the family)", tuple(rows)))
    columns = (
        f"difference ({unit})", "95 % from", "to", "p, ranks", "p, mean", "p, Holm",
        f"detectable ({unit})", "patients", "verdict",
    )  # fmt: skip
    return Table(
        found.comparison.named("differences"),
        f"Mean difference in {found.measure.title} from {found.baseline}{found.comparison.of_title}, "
        "paired by patient.",
        "loss",
        tuple(map(Header, columns)),
        tuple(sections),
        (
            "The unit is the patient: cases and seeds of a patient are averaged first. Interval: studentised "
            "bootstrap. p: Wilcoxon's signed ranks, and the resampled mean; Holm's p is of the larger of the two, over "
            f"the {found.family_size} comparisons that the study declares. Detectable: the true difference that a "
            "single test of so many patients finds with 80 % power. Better or worse: Holm's p below .05 and the "
            "interval on that side of 0; outside the family there is no verdict.",
        ),
    )


def rank_table(found: Statistics) -> Table | None:
    """In which share of the bootstrap samples of patients each loss took each rank by its mean of organs.

    None where the study wrote no ranks.
    """
    return _rank_table(found, ((None, "mean of organs"),), "ranks", "by the mean of organs")


def organ_rank_table(found: Statistics) -> Table | None:
    """The same organ by organ."""
    organs = tuple((organ.name, organ.title) for organ in found.comparison.study.label_set.organs)
    return _rank_table(found, organs, "ranks-per-organ", "organ by organ")


def _rank_table(found: Statistics, organs: tuple[tuple[str | None, str], ...], name: str, words: str) -> Table | None:
    wanted = pl.col("organ").is_in([organ for organ, _ in organs], nulls_equal=True)
    rows = found.ranks.filter(wanted)
    ranks = sorted(rows.filter(pl.col("share") >= LEAST_SHOWN)["rank"].unique())
    sections = []
    for organ, title in organs:
        own = rows.filter(pl.col("organ").eq_missing(pl.lit(organ, dtype=pl.String)))
        of_losses = {c.loss: own.filter(pl.col("loss") == c.loss) for c in found.comparison.conditions}
        lines = tuple(Row(Header(loss), _rank_cells(ranks, of)) for loss, of in of_losses.items() if len(of))
        if lines:
            sections.append(Section(title if len(organs) > 1 else "", lines))
    if not sections:
        return None
    return Table(
        found.comparison.named(name),
        f"Rank stability {words}{found.comparison.of_title}: in how many percent of bootstrap samples of the patients "
        f"each loss takes each rank by {found.measure.title}; 1 is best, equal values share their places.",
        "loss",
        (*(Header(f"rank {rank:g}") for rank in ranks), Header("mean rank")),
        tuple(sections),
    )


def _rank_cells(ranks: list[float], of_loss: pl.DataFrame) -> tuple[Cell, ...]:
    shares = dict(of_loss.select("rank", "share").iter_rows())
    cells = (Cell(100 * shares.get(rank, 0.0), 0, shade=shares.get(rank, 0.0)) for rank in ranks)
    return (*cells, Cell(of_loss["mean_rank"][0], 2))


def _cells(d: Difference, link: str) -> tuple[Cell, ...]:
    return (
        Cell(d.difference, 1, link=link if d.difference is not None else ""),
        Cell(d.low, 1),
        Cell(d.high, 1),
        Cell(d.p, 4),
        Cell(d.p_mean, 4),
        Cell(d.p_holm, 4),
        Cell(d.minimum_detectable, 1),
        Cell(d.patients, 0, undefined=d.undefined),
        Cell(word=d.verdict or "none", best=d.verdict in ("better", "worse")),
    )
