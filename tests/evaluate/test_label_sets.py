"""Label sets from a user's words and from values found in masks."""

import pytest

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.label_sets import labels_of_values, parse_labels


def test_names_and_values_come_in_the_order_given():
    organs = parse_labels("spleen=9, liver = 4").organs
    assert [(organ.name, organ.index, organ.source_value) for organ in organs] == [("spleen", 1, 9), ("liver", 2, 4)]


@pytest.mark.parametrize(
    "text", ["liver", "liver=", "=3", "liver=-1", "liver=1.5", "liver=1,", "liver=1,spleen=1", "a=0"]
)
def test_what_is_no_list_of_labels_is_refused_in_one_line(text):
    with pytest.raises(BadSpec) as error:
        parse_labels(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


def test_found_values_become_organs_in_rising_order():
    found = labels_of_values([300, 0, 7])
    assert found.class_names == ("background", "label_7", "label_300")
    assert [organ.source_value for organ in found.organs] == [7, 300]


def test_empty_masks_and_images_are_refused():
    with pytest.raises(BadData, match="every mask is empty"):
        labels_of_values([0])
    with pytest.raises(BadData, match="not images"):
        labels_of_values(range(1, 256))
    assert len(labels_of_values(range(1, 255)).organs) == 254
