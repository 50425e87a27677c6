"""The way from one tool's number to another's: its ends are the metrics themselves, and each link does what it says."""

import numpy as np
import pytest

from masks import blob, mask_of, pair_of
from steelyard.metrics import METRICS
from steelyard.metrics.convention_chain import (
    AXES,
    BETWEEN,
    BY_AREA,
    EDGE,
    FAMILIES,
    NO_INTERPOLATION,
    TWO_MEANS,
    convention_chain,
)
from steelyard.metrics.organ_pair import OrganPair
from steelyard.volume import Geometry

SHAPE = (6, 8, 7)


def ragged(seed: int, share: float) -> np.ndarray:
    """A mask that touches the image edge."""
    return np.random.default_rng(seed).random(SHAPE) < share


PAIR = pair_of(ragged(1, 0.7), ragged(2, 0.4))


def steps(pair: OrganPair, family: str) -> dict[str, float]:
    return {step.change: step.value for step in convention_chain(pair).steps if step.family == family}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_chain_passes_through_every_tools_own_number(family):
    reached = {s.convention: s.value for s in convention_chain(PAIR).steps if s.family == family and s.convention}
    assert list(reached) == ["chaos", "monai", "deepmind"]
    assert reached["chaos"] == METRICS[family](PAIR)
    for convention in ("monai", "deepmind"):
        assert reached[convention] == pytest.approx(METRICS[f"{family}_{convention}"](PAIR))
    assert len(set(reached.values())) > 1


def test_each_family_changes_one_thing_at_a_time():
    assert list(steps(PAIR, "assd_mm")) == ["", EDGE, BETWEEN, BY_AREA, TWO_MEANS]
    assert list(steps(PAIR, "hd95_mm")) == ["", EDGE, BETWEEN, NO_INTERPOLATION, BY_AREA]
    assert list(steps(PAIR, "nsd_2mm")) == ["", EDGE, BETWEEN, BY_AREA]
    assert list(steps(PAIR, "mssd_mm")) == ["", EDGE, BETWEEN]


def test_links_worked_by_hand():
    """One spilled voxel, 4 columns (12 mm) beside the one that both have.

    Voxels: distances 0; 0, 12. Corners: 8 at 0; 8 at 0, then 4 at 9 mm and 4 at 12 mm (the spill's near and far side).
    All corners of single voxels have one area, so that weighing changes nothing; the two means do.
    """
    pair = pair_of(mask_of((5, 6, 9), (2, 2, 2)), mask_of((5, 6, 9), (2, 2, 2), (2, 2, 6)))
    found = steps(pair, "assd_mm")
    assert found[""] == found[EDGE] == pytest.approx(12 / 3)
    between = (4 * 9 + 4 * 12) / 24
    assert found[BETWEEN] == found[BY_AREA] == pytest.approx(between)
    assert found[TWO_MEANS] == pytest.approx((0 + (4 * 9 + 4 * 12) / 16) / 2)
    percentiles = steps(pair, "hd95_mm")
    assert percentiles[""] == pytest.approx(0.95 * 12)
    assert percentiles[NO_INTERPOLATION] == 12
    shares = steps(pair, "nsd_2mm")
    assert (shares[""], shares[BETWEEN]) == pytest.approx((2 / 3, 16 / 24))


def test_what_explains_the_sizes_is_counted():
    """Slabs of 3 and 4 of 7 columns in an image of 2 × 4 × 7 voxels of 1 × 2 × 3 mm."""
    reference, prediction = np.zeros((2, 4, 7), bool), np.zeros((2, 4, 7), bool)
    reference[:, :, :3] = True
    prediction[:, :, :4] = True
    chain = convention_chain(pair_of(reference, prediction))
    assert chain.elements["chaos"] == (8, 8)
    assert chain.elements["monai"] == (24, 32)  # all: no voxel has its slice neighbours inside the image
    assert chain.elements["deepmind"] == (3 * 5 * 4 - 1 * 3 * 2, 3 * 5 * 5 - 1 * 3 * 3)
    assert chain.without_spacing["mssd_mm"] == 1  # voxels, where it is 3 mm
    assert chain.without_spacing["assd_mm"] == pytest.approx(8 / (24 + 32))
    assert set(chain.without_spacing) == {"assd_mm", "mssd_mm", "hd95_mm"}


def test_a_box_has_nearly_the_area_of_its_sides():
    """4 × 6 × 8 voxels of 1 × 2 × 3 mm: 2 (4·12 + 4·24 + 12·24) = 864 mm², less what the cut edges save."""
    box = np.pad(np.ones((4, 6, 8), bool), 2)
    area = convention_chain(pair_of(box, box)).surface_mm2[0]
    assert 0.9 * 864 < area < 864


def test_a_sheared_grid_is_told():
    affine = np.diag([3.0, 2.0, 3.0, 1.0])
    affine[2, 0] = 4.0
    masks = blob((7, 9, 8), seed=1), blob((7, 9, 8), seed=2)
    assert AXES in steps(OrganPair(*masks, Geometry((7, 9, 8), affine)), "assd_mm")


def test_an_organ_that_one_mask_lacks_has_no_chain():
    assert convention_chain(pair_of(mask_of(SHAPE, (1, 1, 1)), mask_of(SHAPE))) is None
