"""Counts of decided cases and their means over patients, with numbers worked by hand."""

import numpy as np
import pytest

from steelyard.calibrate.tally import Tally
from steelyard.confusion import Confusion


def tally_of(patients, tp, fp, fn, voxel_ml):
    tp, fp, fn = (np.array(counts, np.int64) for counts in (tp, fp, fn))
    return Tally(patients, Confusion(tp, fp, fn, 1000 - tp - fp - fn), np.array(voxel_ml))


TALLY = tally_of(
    ("b", "a", "b"),
    tp=[[900, 30, 5], [800, 60, 0], [700, 20, 1]],
    fp=[[9, 10, 2], [8, 4, 0], [7, 6, 3]],
    fn=[[3, 20, 7], [4, 8, 0], [5, 12, 11]],
    voxel_ml=[0.1, 0.2, 0.5],
)


def test_each_case_is_measured_in_its_own_voxels():
    assert TALLY.missed_ml == pytest.approx(np.array([[0.3, 2, 0.7], [0.8, 1.6, 0], [2.5, 6, 5.5]]))
    assert TALLY.spilled_ml == pytest.approx(np.array([[0.9, 1, 0.2], [1.6, 0.8, 0], [3.5, 3, 1.5]]))


def test_a_patient_counts_once_however_many_cases_it_has():
    assert TALLY.patients == ("a", "b")
    assert TALLY.patient_means(TALLY.missed_ml)[:, 1].tolist() == pytest.approx([1.6, 4.0])
    assert TALLY.patient_means(np.array([1.0, 5.0, 2.0])).tolist() == pytest.approx([5.0, 1.5])


def test_what_is_undefined_in_one_case_is_left_to_the_patients_other_cases():
    values = np.array([[np.nan, 1.0], [np.nan, np.nan], [4.0, 2.0]])
    np.testing.assert_allclose(TALLY.patient_means(values), [[np.nan, np.nan], [4.0, 1.5]])


def test_tallies_add_up_case_by_case():
    both = TALLY + tally_of(("c",), [[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]], [0.3])
    assert both.patient_ids == ("b", "a", "b", "c")
    assert both.counts.fn[3].tolist() == [7, 8, 9]
    assert both.counts.tn[3].tolist() == [988, 985, 982]
    assert both.voxel_ml.tolist() == [0.1, 0.2, 0.5, 0.3]
    assert both.class_count == 3


def test_parts_of_different_numbers_of_cases_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        Tally(("a",), TALLY.counts, TALLY.voxel_ml)
