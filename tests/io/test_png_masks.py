"""Grey values of masks become classes, in the order of the files; odd values and sizes are told with the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from steelyard.errors import BadData
from steelyard.io.png_masks import read_masks, write_masks
from steelyard.labels import CHAOS_CT, CHAOS_MR, LabelSet, Organ
from steelyard.volume import Geometry, LabelMap

GREYS = np.array([[0, 63, 126], [189, 252, 0]], np.uint8)  # background, liver, right kidney / left kidney, spleen
CLASSES = np.array([[0, 1, 2], [3, 4, 0]])


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_grey_values_become_classes_in_the_order_of_the_files(tmp_path: Path):
    first, second = save(tmp_path / "b.png", GREYS), save(tmp_path / "a.png", np.flip(GREYS, 0).copy())
    labels = read_masks([first, second], CHAOS_MR)
    assert labels.dtype == np.uint8
    assert_array_equal(labels, [CLASSES, CLASSES[::-1]])


def test_an_unknown_grey_value_is_told_with_its_file_and_the_known_ones(tmp_path: Path):
    odd = np.array([[0, 64, 200]], np.uint8)
    with pytest.raises(BadData, match=r"odd\.png holds grey value 64, 200 where 0 and 63 liver, 126 right kidney"):
        read_masks([save(tmp_path / "odd.png", odd)], CHAOS_MR)


def test_the_odd_size_is_told_also_when_it_is_the_first_mask(tmp_path: Path):
    files = [save(tmp_path / "0.png", GREYS[:1]), save(tmp_path / "1.png", GREYS), save(tmp_path / "2.png", GREYS)]
    with pytest.raises(BadData, match=r"0\.png has 1 × 3 pixels where the other masks have 2 × 3"):
        read_masks(files, CHAOS_MR)


@pytest.mark.parametrize("one", [1, 255])
def test_a_binary_mask_of_one_organ_may_be_written_as_1_or_255(one: int, tmp_path: Path):
    assert_array_equal(read_masks([save(tmp_path / "m.png", np.array([[0, one]], np.uint8))], CHAOS_CT), [[[0, 1]]])


def test_a_one_bit_mask_of_one_organ_is_read(tmp_path: Path):
    file = save(tmp_path / "m.png", np.array([[0, 255]], np.uint8), mode="1")
    with Image.open(file) as image:
        assert image.mode == "1"
    assert_array_equal(read_masks([file], CHAOS_CT), [[[0, 1]]])


def test_1_is_no_organ_where_there_are_four(tmp_path: Path):
    with pytest.raises(BadData, match="grey value 1 where"):
        read_masks([save(tmp_path / "m.png", np.array([[0, 1]], np.uint8))], CHAOS_MR)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_only_grey_scale_is_a_mask(mode: str, tmp_path: Path):
    with pytest.raises(BadData, match=rf"m\.png is a PNG of kind {mode} "):
        read_masks([save(tmp_path / "m.png", GREYS, mode=mode)], CHAOS_MR)


def test_a_jpeg_named_png_is_refused(tmp_path: Path):
    Image.fromarray(GREYS).save(tmp_path / "m.png", format="JPEG")
    with pytest.raises(BadData, match="not a whole PNG"):
        read_masks([tmp_path / "m.png"], CHAOS_MR)


def test_masks_return_exactly(tmp_path: Path):
    labels = (np.arange(4 * 3 * 5) % 5).astype(np.uint8).reshape(4, 3, 5)
    names = [f"IMG-{k}" for k in (3, 1, 4, 2)]
    files = write_masks(tmp_path / "new", names, LabelMap(labels, Geometry((4, 3, 5), np.eye(4)), CHAOS_MR))
    assert [file.name for file in files] == [f"{name}.png" for name in names]
    assert_array_equal(read_masks(files, CHAOS_MR), labels)
    with Image.open(files[0]) as image:
        assert image.getpixel((4, 0)) == 252
    assert {path.name for path in (tmp_path / "new").iterdir()} == {file.name for file in files}


def test_names_and_slices_must_agree_in_number(tmp_path: Path):
    with pytest.raises(BadData, match="2 slices need as many names; came 1"):
        write_masks(tmp_path, ["a"], LabelMap(np.zeros((2, 3, 4), np.uint8), Geometry((2, 3, 4), np.eye(4)), CHAOS_MR))


def test_values_beyond_8_bits_are_not_cut_off_silently(tmp_path: Path):
    wide = LabelSet((Organ("liver", 1, 256, (1, 2, 3)),))
    with pytest.raises(BadData, match="to 255"):
        write_masks(tmp_path, ["a"], LabelMap(np.ones((1, 2, 3), np.uint8), Geometry((1, 2, 3), np.eye(4)), wide))


def test_a_folder_that_cannot_be_made_ends_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadData, match="cannot be written"):
        write_masks(
            tmp_path / "file", ["a"], LabelMap(np.ones((1, 2, 3), np.uint8), Geometry((1, 2, 3), np.eye(4)), CHAOS_MR)
        )
