"""Why do tools differ on the same masks? Surface distances in three conventions, and the way from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.table import Table

from steelyard.evaluate.case import check_pair
from steelyard.metrics.convention_chain import FAMILIES, Chain, convention_chain
from steelyard.metrics.organ_pair import OrganPair
from steelyard.volume import LabelMap

TITLES = {
    "assd_mm": "ASSD, mm",
    "mssd_mm": "Hausdorff, mm",
    "hd95_mm": "HD95, mm",
    "nsd_2mm": "NSD at 2 mm",
}
BORDERS = {
    "chaos": "voxels; image edge is none",
    "monai": "voxels; image edge, too",
    "deepmind": "between voxels; edge, too",
}
_BY_VOXELS = {
    "assd_mm": "mean of all voxels",
    "mssd_mm": "largest",
    "hd95_mm": "larger of two, interpolated",
    "nsd_2mm": "share of voxels",
}
POOLING = {
    "chaos": _BY_VOXELS,
    "monai": _BY_VOXELS,
    "deepmind": {
        "assd_mm": "mean of two means, by area",
        "mssd_mm": "largest",
        "hd95_mm": "larger of two, by area",
        "nsd_2mm": "share of area",
    },
}
MISSED = {  # what the tools themselves print for an organ in one mask only; here all charge the volume's diagonal, or 0
    "chaos": {"assd_mm": "diagonal", "mssd_mm": "diagonal", "hd95_mm": "diagonal", "nsd_2mm": "0"},
    "monai": {"assd_mm": "inf", "mssd_mm": "inf", "hd95_mm": "nan", "nsd_2mm": "0"},
    "deepmind": {"assd_mm": "inf, nan", "mssd_mm": "inf", "hd95_mm": "inf", "nsd_2mm": "0"},
}
MISSED_HERE = "A missed or invented organ is charged the volume's diagonal here, NSD 0, in every convention."
COLUMNS: dict[str, type[pl.DataType]] = {
    "case_id": pl.String,
    "organ": pl.String,
    "metric": pl.String,
    "step": pl.Int64,
    "change": pl.String,
    "convention": pl.String,
    "value": pl.Float64,
    "difference": pl.Float64,
}


@dataclass(frozen=True)
class Explanation:
    """One case: the chain of each organ that both masks hold."""

    case_id: str
    chains: dict[str, Chain]


def explain_case(reference: LabelMap, prediction: LabelMap, *, case_id: str) -> Explanation:
    """How each organ's surface distances change from the CHAOS convention to MONAI's and on to DeepMind's.

    Raises:
        BadData: masks on different grids or with different label sets.
    """
    check_pair(reference, prediction, case_id)
    chains = {}
    for organ in reference.label_set.organs:
        masks = [label_map.labels == organ.index for label_map in (reference, prediction)]
        chain = convention_chain(OrganPair(masks[0], masks[1], reference.geometry))
        if chain is not None:
            chains[organ.name] = chain
    return Explanation(case_id, chains)


def why_frame(explanations: Sequence[Explanation]) -> pl.DataFrame:
    """One row per case, organ, metric and step: what was changed, the value then, and its difference to the one before.

    `convention` names the tool whose number a step reaches.
    """
    return pl.DataFrame(
        [row for known in explanations for organ, chain in known.chains.items() for row in _rows(known, organ, chain)],
        schema=COLUMNS,
        orient="row",
    )


def why_table(explanations: Sequence[Explanation]) -> Table:
    """The steps of every organ, averaged over the cases where both masks hold it; below, what explains their sizes."""
    cases = len(explanations)
    table = Table(
        title="Why the conventions differ" + (f" (means of {cases} cases)" if cases > 1 else ""),
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        caption=_caption(explanations),
    )
    table.add_column("organ", overflow="fold")
    table.add_column("metric, and what is changed", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    frame = why_frame(explanations)
    means = frame.group_by("organ", "metric", "step", maintain_order=True).agg(
        pl.col("change").first(), pl.col("convention").first(), pl.col("value").mean(), pl.col("difference").mean()
    )
    for organ in means["organ"].unique(maintain_order=True):
        for family in FAMILIES:
            for row in means.filter(organ=organ, metric=family).iter_rows(named=True):
                first = row["step"] == 0
                table.add_row(
                    organ.replace("_", " ") if first and family == FAMILIES[0] else "",
                    TITLES[family] if first else f"  {row['change']}",
                    f"{row['value']:.3f}",
                    "" if first else _signed(row["difference"]),
                    row["convention"] or "",
                )
        table.add_section()
    return table


def rule_table() -> Table:
    """Each metric in each convention: which border, how pooled, and what that tool prints for a missed organ."""
    table = Table(
        title="The rules",
        caption=MISSED_HERE,
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("metric", "convention", "border", "pooling", "missed:\nits tool\nprints"):
        table.add_column(heading, overflow="fold")
    for family in FAMILIES:
        for convention, border in BORDERS.items():
            first = convention == "chaos"
            table.add_row(
                TITLES[family] if first else "",
                convention,
                border,
                POOLING[convention][family],
                MISSED[convention][family],
            )
        table.add_section()
    return table


def _signed(difference: float) -> str:
    shown = f"{difference:+.3f}"
    return shown if float(shown) else "0"


def _rows(known: Explanation, organ: str, chain: Chain) -> Iterator[tuple[object, ...]]:
    for family in FAMILIES:
        before: float | None = None
        steps = [step for step in chain.steps if step.family == family]
        for place, step in enumerate(steps):
            difference = None if before is None else step.value - before
            yield known.case_id, organ, family, place, step.change, step.convention, step.value, difference
            before = step.value


def _caption(explanations: Sequence[Explanation]) -> str:
    lines = []
    for organ in dict.fromkeys(name for known in explanations for name in known.chains):
        chains = [known.chains[organ] for known in explanations if organ in known.chains]
        chaos, monai, deepmind = (
            tuple(sum(chain.elements[name][side] for chain in chains) for side in (0, 1)) for name in BORDERS
        )
        areas = tuple(sum(chain.surface_mm2[side] for chain in chains) / 100 for side in (0, 1))
        blind = {
            family: sum(chain.without_spacing[family] for chain in chains) / len(chains)
            for family in chains[0].without_spacing
        }
        lines.append(
            f"{organ.replace('_', ' ')}: border voxels of reference and prediction {chaos[0]} and {chaos[1]}, "
            f"{monai[0] - chaos[0]} and {monai[1] - chaos[1]} more at the image edge; {deepmind[0]} and {deepmind[1]} "
            f"corners of {areas[0]:.1f} and {areas[1]:.1f} cm². MONAI without spacing= gives voxels: "
            f"{blind['assd_mm']:.3f}, {blind['mssd_mm']:.3f} and {blind['hd95_mm']:.3f} (95 %)."
        )
    return "\n".join(lines)
