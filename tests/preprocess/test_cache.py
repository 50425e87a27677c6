"""Cases made ready once, and kept in files that are right or made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masks import TWO_ORGANS, grid
from steelyard.errors import BadData
from steelyard.preprocess import cache
from steelyard.preprocess.cache import PreparedCase, Preprocessing, prepare, prepare_cached, with_context
from steelyard.volume import Case, LabelMap, Volume

SHAPE = (3, 20, 14)
SPACING_MM = (5.0, 1.5, 2.5)
SQUARE = Preprocessing(size=16)


def case(*, channels: int | None = None, labelled: bool = True, outlier: float = 0.0) -> Case:
    """A bright block in noise; with channels, each the negative of the one before."""
    random = np.random.default_rng(2)
    image = random.uniform(0, 20, SHAPE)
    image[:, 4:16, 3:12] += 200
    image[1, 5, 5] += outlier
    shown = image if channels is None else np.stack([(-1) ** c * image for c in range(channels)])
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 6:12, 4:9], labels[2, 7:9, 5:11] = 1, 2
    geometry = grid(SHAPE, SPACING_MM)
    reference = LabelMap(labels, geometry, TWO_ORGANS) if labelled else None
    return Case("7_in", "7", "T1 in", Volume(shown, geometry), reference)


def equal(one: PreparedCase, other: PreparedCase) -> bool:
    same_labels = one.labels is other.labels is None or np.array_equal(one.labels, other.labels)
    about = [(c.case_id, c.patient_id, c.sequence, c.plane) for c in (one, other)]
    return same_labels and np.array_equal(one.images, other.images) and about[0] == about[1]


def never() -> Case:
    raise AssertionError("the case was read again")


# Preparing


def test_without_a_spacing_native_pixels_are_cropped_and_padded_with_the_darkest_value():
    prepared = prepare(case(), SQUARE)
    assert prepared.images.shape == (3, 1, 16, 16)
    assert prepared.images.dtype == np.float32
    assert prepared.plane.scale == (1, 1)
    assert prepared.plane.offset == (2, -1)
    assert (prepared.images[:, 0, :, 0] == prepared.images.min()).all()
    reference = case().reference
    assert reference is not None
    assert np.array_equal(prepared.labels[:, :, 1:15], reference.labels[:, 2:18])


def test_with_a_spacing_rows_and_columns_are_scaled_by_their_own_spacing():
    """Rows 1.5 mm and columns 2.5 mm apart, to 3 mm: 2 rows and 1.2 columns for each network pixel."""
    plane = prepare(case(), Preprocessing(size=16, spacing_mm=3.0)).plane
    assert plane.scale == pytest.approx((2.0, 1.2))
    assert plane.offset == pytest.approx((9.5 - 2 * 7.5, 7 - 1.2 * 7.5))  # the block's middle: row 9.5, column 7


def test_each_channel_is_normalised_by_itself_over_the_first_ones_body():
    prepared = prepare(case(channels=2), SQUARE)
    assert prepared.images.shape == (3, 2, 16, 16)
    body = prepared.images[:, 0] > 0.1
    np.testing.assert_allclose(prepared.images[:, 1][body], -prepared.images[:, 0][body], atol=1e-4)


def test_a_case_without_a_reference_has_no_labels():
    assert prepare(case(labelled=False), SQUARE).labels is None


def test_intensities_that_are_no_numbers_are_refused_by_case():
    with pytest.raises(BadData, match=r"case 7_in.*NaN") as caught:
        prepare(case(outlier=np.nan), SQUARE)
    assert "\n" not in str(caught.value)


def test_neighbours_become_channels_and_the_end_slices_are_repeated():
    images = np.arange(4)[:, None, None, None] * np.ones((1, 2, 3, 3)) + np.array([0, 0.5])[:, None, None]
    assert with_context(images, 0) is images
    one, two = with_context(images, 1), with_context(images, 2)
    assert one.shape == (4, 6, 3, 3)
    assert one[:, :, 0, 0].tolist() == [
        [0, 0.5, 0, 0.5, 1, 1.5],
        [0, 0.5, 1, 1.5, 2, 2.5],
        [1, 1.5, 2, 2.5, 3, 3.5],
        [2, 2.5, 3, 3.5, 3, 3.5],
    ]
    assert two[0, ::2, 0, 0].tolist() == [0, 0, 0, 1, 2]
    assert two[3, ::2, 0, 0].tolist() == [1, 2, 3, 3, 3]


# Keeping


@pytest.mark.parametrize("labelled", [True, False])
def test_the_second_time_the_file_answers_with_the_same_arrays(tmp_path: Path, labelled: bool):
    made = prepare_cached(tmp_path, "7_in", "a1", SQUARE, lambda: case(channels=2, labelled=labelled))
    assert equal(made, prepare(case(channels=2, labelled=labelled), SQUARE))
    assert equal(prepare_cached(tmp_path, "7_in", "a1", SQUARE, never), made)
    assert len(list(tmp_path.rglob("*.npz"))) == 1


@pytest.mark.parametrize(
    ("case_id", "data_hash", "preprocessing"),
    [
        ("8_in", "a1", SQUARE),
        ("7_in", "b2", SQUARE),
        ("7_in", "a1", replace(SQUARE, size=18)),
        ("7_in", "a1", replace(SQUARE, spacing_mm=2.0)),
    ],
    ids=["case", "data", "size", "spacing"],
)
def test_another_case_content_or_preprocessing_is_another_file(
    tmp_path: Path, case_id: str, data_hash: str, preprocessing: Preprocessing
):
    prepare_cached(tmp_path, "7_in", "a1", SQUARE, case)
    with pytest.raises(AssertionError, match="read again"):
        prepare_cached(tmp_path, case_id, data_hash, preprocessing, never)
    prepare_cached(tmp_path, case_id, data_hash, preprocessing, case)
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_changed_arithmetic_makes_other_files(monkeypatch: pytest.MonkeyPatch):
    before = SQUARE.key
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    assert SQUARE.key != before


def test_context_is_not_in_the_file():
    assert replace(SQUARE, context=2).key == SQUARE.key


def test_arrays_that_lie_column_by_column_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = prepare(case(), SQUARE)
    assert made.labels is not None
    turned = replace(made, images=np.asfortranarray(made.images), labels=np.asfortranarray(made.labels))
    monkeypatch.setattr(cache, "prepare", lambda _case, _preprocessing: turned)
    assert equal(prepare_cached(tmp_path, "7_in", "a1", SQUARE, case), made)


def test_a_file_with_any_damage_is_made_again(tmp_path: Path):
    """Cut at many lengths, or with one byte changed: in headers, names, numbers and checksums."""
    made = prepare_cached(tmp_path, "7_in", "a1", SQUARE, case)
    (file,) = tmp_path.rglob("*.npz")
    whole = file.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 997)]
    for place in [*range(0, len(whole), 173), *range(len(whole) - 400, len(whole), 6)]:
        spoiled = bytearray(whole)
        spoiled[place] ^= 0xFF
        damaged.append(bytes(spoiled))
    for content in damaged:
        file.unlink()  # `made` still reads the old one
        file.write_bytes(content)
        assert equal(prepare_cached(tmp_path, "7_in", "a1", SQUARE, case), made)


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path, prepared: PreparedCase) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_save", fail)
    with pytest.raises(OSError, match="No space"):
        prepare_cached(tmp_path, "7_in", "a1", SQUARE, case)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
