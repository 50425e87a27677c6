"""Failures made on purpose: how far, how much, and what they leave alone."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from steelyard.labels import CHAOS_MR, LabelSet, Organ
from steelyard.study.damage import (
    DAMAGES,
    CannotDamageError,
    Damage,
    mistaken,
    removed,
    shifted,
    shrunk,
    spilled,
    swapped,
)
from steelyard.volume import Geometry, LabelMap

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = CHAOS_MR.organs
STEP_MM = np.array([5.0, 2.0, 3.0])  # slice, row, column
# Slices go to the head, rows to the back, columns to the patient's left; in MIRRORED columns and slices run backwards.
AXIAL = np.array([[0.0, 0, 3, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
MIRRORED = AXIAL * np.array([-1.0, 1, -1, 1])
CORONAL = np.array([[0.0, 0, 3, 0], [5, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1]])  # slices to the back, rows to the feet


def label_map(shape=(12, 30, 40), affine=AXIAL, label_set=CHAOS_MR, **boxes) -> LabelMap:
    labels = np.zeros(shape, np.uint8)
    for name, box in boxes.items():
        labels[box] = label_set.organ(name).index
    return LabelMap(labels, Geometry(shape, affine), label_set)


def abdomen() -> LabelMap:
    """Four boxes; the liver touches the right kidney. 400, 48, 60 and 108 voxels."""
    return label_map(
        liver=np.s_[3:8, 8:16, 2:12],
        right_kidney=np.s_[3:6, 16:20, 4:8],
        left_kidney=np.s_[4:7, 18:22, 28:33],
        spleen=np.s_[5:8, 6:12, 26:32],
    )


def voxels(found: LabelMap, organ: Organ) -> set[tuple[int, ...]]:
    return {tuple(map(int, voxel)) for voxel in np.argwhere(found.labels == organ.index)}


def count(found: LabelMap, organ: Organ) -> int:
    return int(np.count_nonzero(found.labels == organ.index))


def test_a_removed_organ_is_background_and_nothing_else_changes():
    before = abdomen()
    after = removed(before, LEFT_KIDNEY)
    assert count(after, LEFT_KIDNEY) == 0
    changed = before.labels != after.labels
    assert np.count_nonzero(changed) == 60
    assert (after.labels[changed] == 0).all()


@pytest.mark.parametrize(
    ("affine", "axis", "voxel_axis", "step"),
    [
        (AXIAL, "left", 2, 7),  # 20 / 3 = 6.67
        (AXIAL, "posterior", 1, 10),
        (AXIAL, "superior", 0, 4),
        (MIRRORED, "left", 2, -7),
        (MIRRORED, "superior", 0, -4),
        (CORONAL, "left", 2, 7),
        (CORONAL, "posterior", 0, 4),
        (CORONAL, "superior", 1, -10),
    ],
)
def test_twenty_mm_are_whole_voxels_along_the_grids_axis_that_runs_that_way(affine, axis, voxel_axis, step):
    before = label_map((12, 30, 40), affine, spleen=np.s_[5:7, 13:16, 17:21])
    after = shifted(before, SPLEEN, axis=axis)
    offset = np.zeros(3, int)
    offset[voxel_axis] = step
    assert voxels(after, SPLEEN) == {tuple(np.array(voxel) + offset) for voxel in voxels(before, SPLEEN)}


def test_a_slightly_tilted_grid_is_shifted_along_its_nearest_axis():
    turn = np.deg2rad(12)
    tilt = np.array(
        [[np.cos(turn), 0, np.sin(turn), 0], [0, 1, 0, 0], [-np.sin(turn), 0, np.cos(turn), 0], [0, 0, 0, 1]]
    )
    before = label_map(affine=tilt @ AXIAL, spleen=np.s_[5:7, 13:16, 17:21])
    assert voxels(shifted(before, SPLEEN), SPLEEN) == {(s, r, c + 7) for s, r, c in voxels(before, SPLEEN)}


def test_a_negative_distance_goes_the_other_way():
    before = label_map(spleen=np.s_[5:7, 13:16, 17:21])
    after = shifted(before, SPLEEN, axis="posterior", distance_mm=-8.0)
    assert voxels(after, SPLEEN) == {(s, r - 4, c) for s, r, c in voxels(before, SPLEEN)}


def test_what_is_shifted_onto_another_organ_or_out_of_the_image_is_lost():
    before = label_map(liver=np.s_[3, 5, 10], spleen=np.s_[3, 5, 17], left_kidney=np.s_[3, 8, 36])
    assert count(shifted(before, LIVER), LIVER) == 0
    assert voxels(shifted(before, LIVER), SPLEEN) == {(3, 5, 17)}
    assert count(shifted(before, LEFT_KIDNEY), LEFT_KIDNEY) == 0


def test_a_shift_beyond_the_whole_image_leaves_no_organ():
    before = label_map((3, 4, 5), spleen=np.s_[1, 1, 1])
    assert count(shifted(before, SPLEEN), SPLEEN) == 0
    assert count(shifted(before, SPLEEN, distance_mm=-30.0), SPLEEN) == 0


@pytest.mark.parametrize(("organ", "kept"), [(LIVER, 200), (RIGHT_KIDNEY, 24), (LEFT_KIDNEY, 30), (SPLEEN, 54)])
def test_shrinking_keeps_half_of_the_organ_inside_itself(organ, kept):
    before = abdomen()
    after = shrunk(before, organ)
    assert count(after, organ) == kept
    assert voxels(after, organ) < voxels(before, organ)


def test_of_twenty_seven_voxels_fourteen_stay_with_the_centre_among_them():
    after = shrunk(label_map(spleen=np.s_[4:7, 10:13, 20:23]), SPLEEN)
    assert count(after, SPLEEN) == 14
    assert (5, 11, 21) in voxels(after, SPLEEN)


def test_depth_is_measured_in_mm():
    """A plate of 3 rows and 4 columns, 2 and 3 mm. The middle row is 3, 4, 4, 3 mm deep, the others 2 mm."""
    after = shrunk(label_map(spleen=np.s_[5, 10:13, 20:24]), SPLEEN)
    found = voxels(after, SPLEEN)
    assert {(5, 11, column) for column in range(20, 24)} < found
    assert len(found) == 6


def test_the_image_edge_counts_as_outside():
    """Three slices at the edge: the first is as near to the outside as the last, so the middle one stays whole."""
    before = label_map((12, 60, 60), np.diag([2.0, 2, 2, 1]), spleen=np.s_[0:3, 20:40, 20:40])
    after = shrunk(before, SPLEEN)
    kept = [np.count_nonzero(after.labels[k]) for k in range(3)]
    assert kept[1] == 18 * 18  # all but its rim, which is no deeper than the slices beside it
    assert sum(kept) == 600


@pytest.mark.parametrize(("organ", "spread"), [(LIVER, 800), (RIGHT_KIDNEY, 96), (LEFT_KIDNEY, 120), (SPLEEN, 216)])
def test_spilling_doubles_the_organ_and_takes_background_alone(organ, spread):
    before = abdomen()
    after = spilled(before, organ)
    assert count(after, organ) == spread
    assert voxels(before, organ) < voxels(after, organ)
    assert (before.labels[before.labels != after.labels] == 0).all()


def test_one_voxel_spills_along_the_closest_spacing():
    """Rows lie 2 mm apart, columns 3, slices 5."""
    after = spilled(label_map(spleen=np.s_[5, 10, 20]), SPLEEN)
    assert voxels(after, SPLEEN) - {(5, 10, 20)} in ({(5, 9, 20)}, {(5, 11, 20)})


@pytest.mark.parametrize("organ", [LIVER, RIGHT_KIDNEY, SPLEEN])
def test_no_background_left_out_is_nearer_than_any_that_was_taken(organ):
    before = abdomen()
    taken, left = (np.argwhere(m) for m in _taken_and_left(before, spilled(before, organ)))
    inside = np.argwhere(before.labels == organ.index)
    nearest = [cdist(outside * STEP_MM, inside * STEP_MM).min(axis=1) for outside in (taken, left)]
    assert nearest[0].max() <= nearest[1].min() + 1e-9


def test_an_organ_walled_in_by_another_spills_beyond_the_wall():
    """All within 24 mm is liver, far beyond where the search for background begins."""
    before = label_map(liver=np.s_[0:10, 3:28, 2:38])
    labels = before.labels.copy()
    labels[5, 15, 20] = SPLEEN.index
    walled = LabelMap(labels, before.geometry, CHAOS_MR)
    after = spilled(walled, SPLEEN)
    assert count(after, LIVER) == count(walled, LIVER)
    assert voxels(after, SPLEEN) == {(5, 15, 20), (10, 15, 20)}  # 25 mm; over the rows it would be 26, columns 54


def test_where_background_is_scarce_the_spill_takes_all_of_it():
    before = label_map((2, 3, 4), liver=np.s_[:, :, 0:3], spleen=np.s_[:, 0:2, 3])
    after = spilled(before, SPLEEN)
    assert count(after, SPLEEN) == 6
    assert count(after, LIVER) == 18


def test_swapping_exchanges_left_and_right():
    before = abdomen()
    for organ in (RIGHT_KIDNEY, LEFT_KIDNEY):
        after = swapped(before, organ)
        assert voxels(after, LEFT_KIDNEY) == voxels(before, RIGHT_KIDNEY)
        assert voxels(after, RIGHT_KIDNEY) == voxels(before, LEFT_KIDNEY)
        assert voxels(after, SPLEEN) == voxels(before, SPLEEN)


@pytest.mark.parametrize("organ", [LIVER, SPLEEN])
def test_an_organ_without_another_side_cannot_be_swapped(organ):
    with pytest.raises(CannotDamageError, match="no counterpart on the other side"):
        swapped(abdomen(), organ)


def test_a_mistaken_organ_becomes_the_one_whose_centre_is_nearest_in_mm():
    """From the spleen: the liver is 4 slices (20 mm) away, the left kidney 8 rows (16 mm) and 1 column (3 mm)."""
    before = label_map(spleen=np.s_[5, 10, 20], liver=np.s_[9, 10, 20], left_kidney=np.s_[5, 18, 21])
    after = mistaken(before, SPLEEN)
    assert voxels(after, LEFT_KIDNEY) == {(5, 10, 20), (5, 18, 21)}
    assert voxels(after, LIVER) == {(9, 10, 20)}


def test_a_lonely_organ_cannot_be_mistaken():
    with pytest.raises(CannotDamageError, match="no other organ"):
        mistaken(label_map(spleen=np.s_[5, 10, 20]), SPLEEN)


POSSIBLE = [(d, o) for d in DAMAGES for o in CHAOS_MR.organs if d.name != "swapped" or "kidney" in o.name]


@pytest.mark.parametrize(("damage", "organ"), POSSIBLE, ids=lambda part: part.name)
def test_no_damage_takes_a_voxel_from_another_organ_or_changes_its_input(damage, organ):
    before = abdomen()
    kept = before.labels.copy()
    after = damage(before, organ)
    assert np.array_equal(before.labels, kept)
    assert not np.array_equal(after.labels, kept)
    assert after.geometry is before.geometry
    changed = [other for other in CHAOS_MR.organs if voxels(before, other) != voxels(after, other)]
    if damage.name == "swapped":
        assert changed == [RIGHT_KIDNEY, LEFT_KIDNEY]
    elif damage.name == "mistaken":  # the other one takes the whole organ, and keeps its own voxels
        (other,) = (o for o in changed if o != organ)
        assert voxels(after, other) == voxels(before, other) | voxels(before, organ)
    else:
        assert changed == [organ]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_an_organ_that_is_not_there_cannot_be_damaged(damage):
    with pytest.raises(CannotDamageError, match="the prediction lacks it"):
        damage(label_map(liver=np.s_[5, 10, 20]), SPLEEN)


def test_a_damage_that_changes_nothing_is_none():
    """Slices 50 mm apart: 20 mm are not one of them. One voxel has no half."""
    coarse = label_map(affine=np.diag([50.0, 2, 3, 1]), spleen=np.s_[5, 10, 20])
    for damage in (Damage("shifted", "", shifted), Damage("shrunk", "", shrunk)):
        with pytest.raises(CannotDamageError, match="nothing would change"):
            damage(coarse, SPLEEN)


def test_names_that_hold_left_and_right_anywhere_are_counterparts():
    lungs = LabelSet((Organ("lung_left_upper", 1, 1, (0, 0, 0)), Organ("lung_right_upper", 2, 2, (0, 0, 0))))
    before = label_map(label_set=lungs, lung_left_upper=np.s_[5, 10, 20])
    assert voxels(swapped(before, lungs.organs[0]), lungs.organs[1]) == {(5, 10, 20)}


def _taken_and_left(before: LabelMap, after: LabelMap) -> tuple[np.ndarray, np.ndarray]:
    return before.labels != after.labels, (before.labels == 0) & (after.labels == 0)
