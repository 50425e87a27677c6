"""Names of values in a NIfTI header, as TotalSegmentator writes them."""

import numpy as np
import pytest

from mask_files import blocks, label_table, save
from steelyard.errors import BadData
from steelyard.io.nifti_labels import read_label_names


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_values_have_the_names_of_the_table_without_the_background(tmp_path, name):
    table = label_table({0: "background", 5: "liver", 2: "kidney_right", 7: ""})
    assert read_label_names(save(tmp_path / name, blocks(liver=5), header=table)) == {5: "liver", 2: "kidney_right"}


def test_a_file_without_a_table_or_none_at_all_has_no_names(tmp_path):
    (tmp_path / "broken.nii").write_bytes(b"no NIfTI")
    assert read_label_names(save(tmp_path / "plain.nii", blocks(liver=5))) == {}
    assert read_label_names(save(tmp_path / "other.nii", blocks(liver=5), header="a comment")) == {}
    assert read_label_names(tmp_path / "broken.nii") == {}


@pytest.mark.parametrize(
    "table",
    [
        '<!DOCTYPE x [<!ENTITY a "b">]><LabelTable><Label Key="1">&a;</Label></LabelTable>',
        "<LabelTable><Label>liver</Label></LabelTable>",
        '<LabelTable><Label Key="one">liver</Label></LabelTable>',
        "<LabelTable><Label",
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, table):
    file = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8), header=table)
    with pytest.raises(BadData, match="the label table in its header") as error:
        read_label_names(file)
    assert "\n" not in str(error.value)
