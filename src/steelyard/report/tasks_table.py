"""One network for all organs beside one network per organ: the study's table 4."""

from __future__ import annotations

from steelyard.report.comparison import IOU, Comparison, comparisons
from steelyard.report.links import ALL_ORGANS, cases_link
from steelyard.report.means import mean, pooled
from steelyard.report.read import BACKGROUND, UNICLASS, Condition, Study
from steelyard.report.table import Cell, Header, Row, Section, Table


def tasks_tables(study: Study) -> tuple[Table, ...]:
    """A table for each network that was trained in both ways with at least one loss."""
    of_group = {(comparison.network, comparison.task): comparison for comparison in comparisons(study)}
    found = []
    for (network, task), together in of_group.items():
        alone = of_group.get((network, UNICLASS))
        if task != UNICLASS and alone is not None:
            table = _table(together, alone)
            if table is not None:
                found.append(table)
    return tuple(found)


def _table(together: Comparison, alone: Comparison) -> Table | None:
    single = {condition.loss: condition for condition in alone.conditions if condition.done}
    both = [(c, single[c.loss]) for c in together.conditions if c.done and c.loss in single]
    if not both:
        return None
    study = together.study
    organs = study.label_set.organs
    columns: list[Header] = []
    values: list[dict[str, float | None]] = []  # one column's IoU per class
    links: list[Condition] = []
    for conditions in both:
        for comparison, condition in zip((together, alone), conditions, strict=True):
            means = pooled(comparison.scores.filter(IOU))
            place = comparison.conditions.index(condition)
            names = [BACKGROUND] * comparison.has_background + [organ.name for organ in organs]
            values.append({name: comparison.values(means, organ=name)[place] for name in names})
            links.append(condition)
            columns.append(Header(f"{condition.loss}, {comparison.task}", condition.shortfall))
        columns.append(Header(f"{conditions[0].loss}, difference (points)"))

    def row(label: str, found: list[float | None], anchor: str, *, summary: bool = False) -> Row:
        cells: list[Cell] = []
        for i in range(0, len(found), 2):
            pair = found[i : i + 2]
            cells += [
                Cell(value, link=cases_link(study, links[i + n], anchor) if value is not None else "")
                for n, value in enumerate(pair)
            ]
            cells.append(Cell(None if None in pair else 100 * (pair[1] - pair[0]), 1))  # type: ignore[operator]
        return Row(Header(label), tuple(cells), summary)

    means_of_organs = [mean([column[organ.name] for organ in organs]) for column in values]
    with_background = [mean(list(column.values())) if BACKGROUND in column else None for column in values]
    rows = [
        row("background", [column.get(BACKGROUND) for column in values], ALL_ORGANS),
        *(row(organ.title, [column[organ.name] for column in values], organ.name) for organ in organs),
    ]
    summary = [
        row("average of organs", means_of_organs, ALL_ORGANS, summary=True),
        row("average with background", with_background, ALL_ORGANS, summary=True),
    ]
    several = len({network for network, _ in study.groups}) > 1
    return Table(
        "tasks" + (f"-{together.network}" if several else ""),
        f"One network for all organs (multiclass) beside one network per organ (uniclass), {together.network}: IoU "
        "pooled over the held-out voxels of a run, mean over folds and seeds.",
        "organ",
        tuple(columns),
        (Section("", tuple(rows)), Section("", tuple(summary))),
        (
            "Difference: uniclass less multiclass; no test stands behind it. A network of one organ has no background "
            "to score, and so no average with it: averages with and without background do not compare.",
            *(("†: planned runs are missing.",) if any(c.shortfall for pair in both for c in pair) else ()),
        ),
    )
