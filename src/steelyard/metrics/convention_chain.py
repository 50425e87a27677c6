"""Why tools disagree about a surface distance: from one convention to the next, one ingredient changed at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.metrics import METRICS
from steelyard.metrics.border_distances import SurfaceDistances
from steelyard.metrics.deepmind_surface import quantile_by_area
from steelyard.metrics.organ_pair import OrganPair

FAMILIES = ("assd_mm", "mssd_mm", "hd95_mm", "nsd_2mm")
TOLERANCE_MM = 2.0
EDGE = "image edge is border, too"
AXES = EDGE + "; mm along the grid's axes"
BETWEEN = "surface between voxels"
BY_AREA = "weighed by area"
TWO_MEANS = "mean of two means"
NO_INTERPOLATION = "no interpolation"


@dataclass(frozen=True)
class Step:
    """One link: the value after `change`, and the convention that is reached there, if one is."""

    family: str
    change: str
    convention: str | None
    value: float


@dataclass(frozen=True)
class Chain:
    """The links of every family for one organ of one case, and what explains their sizes.

    Attributes:
        elements: convention → number of border elements of reference and prediction.
        surface_mm2: areas of both surfaces.
        without_spacing: what MONAI gives when it is not told the spacing, in voxels; no NSD, whose tolerance is in mm.
    """

    steps: tuple[Step, ...]
    elements: dict[str, tuple[int, int]]
    surface_mm2: tuple[float, float]
    without_spacing: dict[str, float]


def convention_chain(pair: OrganPair) -> Chain | None:
    """chaos → monai → deepmind; None where a mask lacks the organ, or fills the volume and so has no chaos border.

    The last value of each family is DeepMind's and the differences of the links add up to the whole difference.
    """
    borders, edges, surfels, voxels = pair.distances, pair.edge_distances, pair.surfels, pair.edge_distances_in_voxels
    if borders is None or edges is None or surfels is None or voxels is None:
        return None
    places = surfels.distances
    areas = (surfels.reference_mm2, surfels.prediction_mm2)
    to_monai = EDGE if pair.right_angled else AXES
    steps = []
    for family in FAMILIES:
        steps += [
            Step(family, "", "chaos", _by_voxels(family, borders)),
            Step(family, to_monai, "monai", _by_voxels(family, edges)),
        ]
        links = [(BETWEEN, _by_voxels(family, places))]
        if family == "assd_mm":
            links.append((BY_AREA, float(np.average(places.pooled, weights=surfels.pooled_mm2))))
            links.append((TWO_MEANS, _deepmind(family, pair)))
        elif family == "hd95_mm":
            links.append((NO_INTERPOLATION, _plain_quantile(places)))
            links.append((BY_AREA, _deepmind(family, pair)))
        elif family == "nsd_2mm":
            links.append((BY_AREA, _deepmind(family, pair)))
        last = len(links) - 1
        steps += [
            Step(family, change, "deepmind" if place == last else None, value)
            for place, (change, value) in enumerate(links)
        ]
    return Chain(
        tuple(steps),
        {
            name: (len(distances.from_reference), len(distances.from_prediction))
            for name, distances in (("chaos", borders), ("monai", edges), ("deepmind", places))
        },
        (float(areas[0].sum()), float(areas[1].sum())),
        {family: _by_voxels(family, voxels) for family in FAMILIES if family != "nsd_2mm"},
    )


def _by_voxels(family: str, distances: SurfaceDistances) -> float:
    """The family's number as chaos and MONAI have it: every element weighs 1."""
    if family == "assd_mm":
        return distances.average
    if family == "mssd_mm":
        return distances.largest
    if family == "hd95_mm":
        return distances.percentile_95
    return distances.within(TOLERANCE_MM)


def _plain_quantile(distances: SurfaceDistances) -> float:
    directed = (distances.from_reference, distances.from_prediction)
    return max(quantile_by_area(d, np.ones(len(d)), 0.95) for d in directed)


def _deepmind(family: str, pair: OrganPair) -> float:
    return float(METRICS[f"{family}_deepmind"](pair) or 0.0)
