"""Organs, their class indices and the grey values in files."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import BadData
from steelyard.labels import CHAOS_CT, CHAOS_MR, UNKNOWN_CLASS, LabelSet, Organ

RED = (255, 0, 0)


def organ(name: str, index: int, value: int) -> Organ:
    return Organ(name, index, value, RED)


def test_chaos_has_the_grey_values_of_its_mask_files():
    values = {o.name: o.source_value for o in CHAOS_MR.organs}
    assert values == {"liver": 63, "right_kidney": 126, "left_kidney": 189, "spleen": 252}
    assert CHAOS_MR.class_names == ("background", "liver", "right_kidney", "left_kidney", "spleen")
    assert CHAOS_MR.class_count == 5
    assert CHAOS_CT.class_names == ("background", "liver")
    assert CHAOS_CT.organ("liver").source_value == 255


def test_grey_values_become_classes_and_classes_grey_values():
    source = np.array([[0, 63, 252], [189, 126, 0]], np.uint8)
    classes = CHAOS_MR.classes_from_source(source)
    assert classes.tolist() == [[0, 1, 4], [3, 2, 0]]
    assert classes.dtype == np.uint8
    back = CHAOS_MR.source_from_classes(classes)
    assert np.array_equal(back, source)
    assert back.dtype == np.uint8


def test_a_value_that_no_organ_owns_is_marked_and_not_taken_for_the_nearest():
    assert CHAOS_MR.classes_from_source(np.array([62, 64, 255])).tolist() == [UNKNOWN_CLASS] * 3


def test_values_above_255_survive_the_way_back():
    large = LabelSet((organ("tumour", 1, 1000), organ("cyst", 2, 7)))
    assert large.source_from_classes(np.array([0, 1, 2])).tolist() == [0, 1000, 7]
    assert large.classes_from_source(np.array([1000, 7, 0], np.int32)).tolist() == [1, 2, 0]


def test_an_organ_is_found_by_name_and_titled_for_people():
    assert CHAOS_MR.organ("left_kidney").index == 3
    assert CHAOS_MR.organ("left_kidney").title == "left kidney"
    with pytest.raises(KeyError):
        CHAOS_MR.organ("left kidney")


@pytest.mark.parametrize(
    ("organs", "complaint"),
    [
        ((organ("a", 0, 5),), "class indices"),
        ((organ("a", 1, 5), organ("b", 3, 6)), "class indices"),
        ((organ("b", 2, 5), organ("a", 1, 6)), "class indices"),
        ((organ("a", 1, 5), organ("b", 2, 5)), "source value"),
        ((organ("a", 1, 0),), "source value"),
        ((organ("a", 1, 5), organ("a", 2, 6)), "share a name"),
    ],
)
def test_organs_that_cannot_be_told_apart_are_refused(organs: tuple[Organ, ...], complaint: str):
    with pytest.raises(BadData, match=complaint):
        LabelSet(organs)


def test_every_chaos_organ_has_its_own_colour_and_coded_concept():
    assert len({o.colour for o in CHAOS_MR.organs}) == len({o.concept for o in CHAOS_MR.organs}) == 4
    assert all(o.concept is not None and o.concept.scheme == "SCT" for o in CHAOS_MR.organs)
