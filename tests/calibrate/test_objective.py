"""The five objectives, on two patients with numbers worked by hand."""

import numpy as np
import pytest

from steelyard.calibrate.objective import Cost, LeastSpill, MeanIndex, VolumeBias
from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion
from steelyard.errors import BadSpec


def tally_of(patients, tp, fp, fn, voxel_ml):
    tp, fp, fn = (np.array(counts, np.int64) for counts in (tp, fp, fn))
    return Tally(patients, Confusion(tp, fp, fn, 1000 - tp - fp - fn), np.array(voxel_ml))


# Patient a has two cases; in the second of them and in b the spleen (class 2) is absent and none is given.
# IoU of the liver: a .5 and .75, b .2; of the spleen: a .4 in its first case alone. Class 0 must never matter.
TALLY = tally_of(
    ("a", "a", "b"),
    tp=[[1, 30, 4], [2, 60, 0], [3, 10, 0]],
    fp=[[500, 10, 1], [600, 8, 0], [700, 30, 0]],
    fn=[[400, 20, 5], [300, 12, 0], [200, 10, 0]],
    voxel_ml=[0.1, 0.2, 0.5],
)


def test_the_mean_iou_counts_each_patient_once_and_leaves_out_what_is_undefined():
    objective = MeanIndex()
    of_a = (0.625 + 0.4) / 2  # liver: (.5 + .75)/2; spleen: .4
    assert objective.of_patients(TALLY).tolist() == pytest.approx([of_a, 0.2])
    assert objective.merit(TALLY) == pytest.approx((0, (of_a + 0.2) / 2))


def test_one_organ_alone_is_judged_by_itself():
    assert MeanIndex().merit(TALLY, (1,)) == pytest.approx((0, (0.625 + 0.2) / 2))
    assert MeanIndex().merit(TALLY, (2,)) == pytest.approx((0, 0.4))
    np.testing.assert_allclose(MeanIndex().of_patients(TALLY, (2,)), [0.4, np.nan])


def test_dice_replaces_the_iou_where_it_is_asked_for():
    liver_of_a = (60 / 90 + 120 / 140) / 2
    assert MeanIndex("dice").of_patients(TALLY).tolist() == pytest.approx([(liver_of_a + 8 / 14) / 2, 20 / 60])


def test_an_index_that_nobody_has_is_the_worst_merit():
    empty = tally_of(("a",), [[9, 0]], [[0, 0]], [[0, 0]], [1.0])
    assert MeanIndex().merit(empty) == (0, -np.inf)


def test_enough_recall_leaves_the_least_spilled_to_decide():
    recall = ((30 / 50 + 60 / 72) / 2 + 10 / 20) / 2
    spilled = ((10 * 0.1 + 8 * 0.2) / 2 + 30 * 0.5) / 2
    assert LeastSpill(1, 0.6).recall(TALLY) == pytest.approx(recall)  # .608
    assert LeastSpill(1, 0.6).merit(TALLY) == pytest.approx((0, -spilled))
    assert LeastSpill(1, 0.7).merit(TALLY) == pytest.approx((recall - 0.7, -spilled))
    assert LeastSpill(1, 0.7).of_patients(TALLY).tolist() == pytest.approx([1.3, 15])


def test_recall_that_falls_short_is_worse_than_any_spill():
    careful, generous = (
        tally_of(("a",), [[0, tp]], [[0, fp]], [[0, 100 - tp]], [1.0]) for tp, fp in ((89, 0), (90, 800))
    )
    assert LeastSpill(1, 0.9).merit(generous) > LeastSpill(1, 0.9).merit(careful)


def test_rounding_does_not_make_a_recall_fall_short():
    exact = tally_of(("a", "b", "c"), [[0, 7]] * 3, [[0, 0]] * 3, [[0, 3]] * 3, [1.0] * 3)
    assert LeastSpill(1, 0.7).merit(exact)[0] == 0


def test_recall_of_one_organ_has_no_opinion_on_another():
    objective = LeastSpill(1, 0.9)
    assert objective.merit(TALLY, (2,)) == (0, 0)
    assert objective.merit(TALLY, (1, 2)) == objective.merit(TALLY, (1,)) == objective.merit(TALLY)
    assert objective.organs_moved(3) == (1,)
    assert MeanIndex().organs_moved(3) == (1, 2)


def test_recall_of_an_organ_that_nobody_has_is_refused():
    with pytest.raises(BadSpec, match="no patient has the organ of class 1"):
        LeastSpill(1, 0.9).merit(tally_of(("a",), [[9, 0]], [[0, 3]], [[0, 0]], [1.0]))


def test_the_cost_prices_each_ml_missed_and_spilled():
    of_a = ((3 * 2.5 + 0.5 * 1.1) + (3 * 2.4 + 0.5 * 1.6)) / 2
    of_b = 3 * 5 + 0.5 * 15
    objective = Cost(fn_per_ml=3, fp_per_ml=0.5)
    assert objective.of_patients(TALLY).tolist() == pytest.approx([of_a, of_b])
    assert objective.merit(TALLY) == pytest.approx((0, -(of_a + of_b) / 2))
    assert objective.merit(TALLY, (2,)) == pytest.approx((0, -(3 * 0.5 + 0.5 * 0.1) / 2 / 2))


def test_a_volume_bias_beyond_the_allowed_comes_before_the_index():
    liver = ((-1.0 - 0.8) / 2 + 10) / 2  # 4.55 ml too much on average
    spleen = (-0.4 / 2 + 0) / 2  # −.1
    assert VolumeBias(2).bias_ml(TALLY)[1:].tolist() == pytest.approx([liver, spleen])
    assert VolumeBias(2).merit(TALLY) == pytest.approx((-(liver - 2), MeanIndex().merit(TALLY)[1]))
    assert VolumeBias(5).merit(TALLY) == pytest.approx((0, MeanIndex().merit(TALLY)[1]))
    assert VolumeBias(0.05).merit(TALLY, (2,)) == pytest.approx((-0.05, 0.4))
    assert VolumeBias(2).of_patients(TALLY).tolist() == MeanIndex().of_patients(TALLY).tolist()


def test_titles_units_and_directions_say_what_is_compared():
    found = {
        o.title: (o.unit, o.higher_is_better)
        for o in (MeanIndex("dice"), LeastSpill(1, 0.9), Cost(3, 1), VolumeBias(5))
    }
    assert found == {
        "mean Dice": ("", True),
        "least spilled at recall ≥ 0.9": ("ml", False),
        "cost at 3 per ml missed, 1 per ml spilled": ("cost", False),
        "mean IoU at volume bias within 5 ml": ("", True),
    }


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: MeanIndex("jaccard"), "iou or dice; came 'jaccard'"),
        (lambda: LeastSpill(1, 0.0), "above 0 and at most 1; came 0"),
        (lambda: LeastSpill(1, 1.1), "above 0 and at most 1; came 1.1"),
        (lambda: LeastSpill(0, 0.9), "class 1 or more; came class 0"),
        (lambda: Cost(-1, 1), "prices per ml must be 0 or more"),
        (lambda: Cost(0, 0), "not both 0"),
        (lambda: VolumeBias(-2), "0 ml or more; came -2"),
    ],
)
def test_impossible_demands_are_refused_in_one_line(make, line):
    with pytest.raises(BadSpec, match=line):
        make()
