"""Label sets from a user's words and from values found in masks."""

import pytest

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.label_sets import labels_of_values, parse_labels, read_labels


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


def written(tmp_path, text: str) -> str:
    (tmp_path / "map.toml").write_text(text)
    return str(tmp_path / "map.toml")


def test_a_label_file_names_values_lists_and_files_on_either_side(tmp_path):
    text = """
    unlisted = "background"
    [organs]
    liver = 1
    kidneys = [2, 3]
    [prediction]
    liver = 5
    kidneys = ["kidney_right.nii.gz", "kidney_left"]
    """
    choice = read_labels(written(tmp_path, text))
    assert choice.organs == {"liver": (1,), "kidneys": (2, 3)}
    assert choice.prediction == {"liver": (5,), "kidneys": ("kidney_right", "kidney_left")}
    assert choice.unlisted_is_background


def test_labels_in_a_line_stay_values_of_both_sides():
    choice = read_labels("liver=63,spleen=252")
    assert (choice.organs, choice.prediction) == ({"liver": (63,), "spleen": (252,)}, {})
    assert not choice.unlisted_is_background


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[organs", "is not TOML"),
        ("[organ]\nliver = 1", "Did you mean 'organs'"),
        ("[prediction]\nliver = 1", "came none"),
        ("[organs]\nliver = 0", "0 is neither a value from 1"),
        ("[organs]\nliver = true", "True is neither"),
        ("[organs]\nliver = 1.5", "1.5 is neither"),
        ("[organs]\nliver = []", "or a list of different ones"),
        ("[organs]\nliver = [1, 1]", "or a list of different ones"),
        ("[organs]\nliver = 1\nspleen = [2, 1]", "liver and spleen share 1"),
        ("[organs]\nliver = 1\n[prediction]\nlivver = 1", "Did you mean 'liver'"),
        ('unlisted = "ignore"\n[organs]\nliver = 1', "came 'ignore'"),
        ("organs = 3", "where a table [organs] is wanted"),
    ],
)
def test_a_label_file_that_makes_no_sense_is_one_line(tmp_path, text, said):
    with pytest.raises(BadSpec) as error:
        read_labels(written(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_file_that_is_not_there_is_one_line():
    with pytest.raises(BadSpec, match=r"absent\.toml cannot be read"):
        read_labels("absent.toml")
