"""NIfTI files hold the same voxels at the same places, as nibabel sees them; damaged ones end in one line."""

from __future__ import annotations

import errno
import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from steelyard.errors import BadData, BadSpec, Interrupted
from steelyard.io.nifti import read_label_map, read_volume, write_label_map, write_volume
from steelyard.labels import CHAOS_MR
from steelyard.volume import Geometry, LabelMap, Volume

# slice step 3 along z, rows 2 along y, columns 1 along x, first voxel at LPS (−10, −20, −30)
AXIAL = np.array([[0, 0, 1, -10], [0, 2, 0, -20], [3, 0, 0, -30], [0, 0, 0, 1]], float)
LABELS = (np.arange(4 * 3 * 5) % 5).astype(np.uint8).reshape(4, 3, 5)


def label_map(affine: np.ndarray = AXIAL) -> LabelMap:
    return LabelMap(LABELS, Geometry(LABELS.shape, affine), CHAOS_MR)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_sees_column_row_slice_at_ras_coordinates(suffix: str, tmp_path: Path):
    write_label_map(tmp_path / f"case{suffix}", label_map())
    image = nib.load(tmp_path / f"case{suffix}")
    assert image.shape == (5, 3, 4)
    assert np.asarray(image.dataobj)[4, 1, 2] == LABELS[2, 1, 4]
    assert image.get_data_dtype() == np.uint8
    # LPS (−10, −20, −30) is RAS (10, 20, −30); a column steps to the left (−x), a row to the back (−y)
    assert_allclose(image.affine, [[-1, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert_allclose(image.header.get_zooms(), (1, 2, 3))
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_file_in_ras_order_is_read_with_its_own_voxel_order(tmp_path: Path):
    voxels = np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4)
    affine = np.array([[2, 0, 0, 7], [0, 3, 0, -8], [0, 0, 4, 9], [0, 0, 0, 1]], float)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "ras.nii.gz")
    volume = read_volume(tmp_path / "ras.nii.gz")
    assert volume.geometry.shape == (4, 3, 5)
    assert volume.intensities[1, 2, 3] == voxels[3, 2, 1]
    assert volume.intensities.dtype == np.float32
    # voxel i=3, j=2, k=1 lies at RAS (13, −2, 13), which is LPS (−13, 2, 13)
    assert_allclose(volume.geometry.affine @ [1, 2, 3, 1], [-13, 2, 13, 1])
    assert volume.geometry.spacing_mm == pytest.approx((4, 3, 2))


def test_scaled_intensities_are_scaled(tmp_path: Path):
    image = nib.Nifti1Image(np.full((2, 2, 2), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "scaled.nii")
    assert nib.load(tmp_path / "scaled.nii").dataobj.slope == 0.5
    assert int.from_bytes((tmp_path / "scaled.nii").read_bytes()[-2:], "little") == 10
    assert read_volume(tmp_path / "scaled.nii").intensities[0, 0, 0] == 2  # 10 × 0.5 − 3


@settings(max_examples=40, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    flips=st.tuples(*[st.sampled_from((-1, 1))] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_labels_return_exactly_and_lie_where_they_lay(
    angles: tuple[float, ...],
    flips: tuple[int, ...],
    origin: tuple[float, ...],
    tmp_path_factory: pytest.TempPathFactory,
):
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    turn = (
        np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
        @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
        @ np.array([[1, 0, 0], [0, cc, -sc], [0, sc, cc]])
    )
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(np.array([3, 2, 1]) * flips), origin
    file = tmp_path_factory.mktemp("oblique") / "case.nii.gz"
    write_label_map(file, label_map(affine))
    back = read_label_map(file, CHAOS_MR)
    assert back.labels.dtype == np.uint8
    assert_array_equal(back.labels, LABELS)
    assert back.geometry.same_grid(label_map(affine).geometry, tolerance_mm=1e-3)
    image = nib.load(file)
    if image.header["qform_code"]:  # left out where its quaternion is too coarse
        corner = [4, 2, 3, 1]
        assert_allclose(image.get_qform() @ corner, image.get_sform() @ corner, atol=1e-2)


def test_a_sheared_grid_is_written_as_sform_alone(tmp_path: Path):
    affine = AXIAL.copy()
    affine[1, 0] = 0.5  # each slice half a millimetre further back
    write_label_map(tmp_path / "sheared.nii", label_map(affine))
    assert nib.load(tmp_path / "sheared.nii").header["qform_code"] == 0
    assert_allclose(read_label_map(tmp_path / "sheared.nii", CHAOS_MR).geometry.affine, affine)


@pytest.mark.parametrize("kind", [np.float32, np.uint16, np.float64, np.int32])
def test_a_volume_returns_with_its_values(kind: type, tmp_path: Path):
    intensities = np.arange(60).reshape(4, 3, 5).astype(kind)
    write_volume(tmp_path / "image.nii.gz", Volume(intensities, Geometry((4, 3, 5), AXIAL)))
    back = read_volume(tmp_path / "image.nii.gz")
    assert_array_equal(back.intensities, intensities)
    assert_allclose(back.geometry.affine, AXIAL)


def test_half_precision_is_stored_as_single(tmp_path: Path):
    write_volume(tmp_path / "image.nii", Volume(np.full((1, 2, 3), 0.5, np.float16), Geometry((1, 2, 3), AXIAL)))
    assert nib.load(tmp_path / "image.nii").get_data_dtype() == np.float32


def test_channels_are_not_written_as_one_volume(tmp_path: Path):
    with pytest.raises(BadData, match="came 2"):
        write_volume(tmp_path / "x.nii", Volume(np.zeros((2, 4, 3, 5)), Geometry((4, 3, 5), AXIAL)))


def save(path: Path, voxels: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


@pytest.mark.parametrize(("value", "told"), [(5, "5"), (2.5, r"2\.5"), (-1, "-1"), (np.nan, "nan")])
def test_values_that_are_no_class_are_told(value: float, told: str, tmp_path: Path):
    voxels = np.zeros((2, 3, 4), np.float32)
    voxels[1, 1, 1] = value
    with pytest.raises(BadData, match=rf"odd\.nii holds the value {told} where the classes 0–4 are known"):
        read_label_map(save(tmp_path / "odd.nii", voxels), CHAOS_MR)


def test_labels_stored_as_floats_are_labels(tmp_path: Path):
    voxels = np.array([[[0.0, 4.0]]], np.float64)
    assert_array_equal(read_label_map(save(tmp_path / "f.nii", voxels), CHAOS_MR).labels.ravel(), [0, 4])


def test_four_dimensions_are_refused_unless_the_last_is_one(tmp_path: Path):
    with pytest.raises(BadData, match=r"axes \(2, 3, 4, 2\) where three are wanted"):
        read_volume(save(tmp_path / "time.nii", np.zeros((2, 3, 4, 2), np.uint8)))
    assert read_volume(save(tmp_path / "one.nii", np.zeros((2, 3, 4, 1), np.uint8))).geometry.shape == (4, 3, 2)


def lying_header(path: Path) -> None:
    """A header that promises 400³ voxels where there are 24 thousand."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[42:48] = np.array([400] * 3, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))


def singular_affine(path: Path) -> None:
    """An sform whose third row is zero: all voxels in one plane."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = np.array([0, 1], "<i2").tobytes()  # qform_code, sform_code
    raw[312:328] = bytes(16)  # srow_z
    path.write_bytes(gzip.compress(bytes(raw)))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "text": lambda path: path.write_text("not an image"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "singular affine": singular_affine,
    "promises too much": lying_header,
    "missing": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_ends_in_one_line_that_names_it(damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    path = tmp_path / "case.nii.gz"
    noise = np.random.default_rng(1).integers(0, 5, (20, 30, 40)).astype(np.uint8)
    save(path, noise)
    DAMAGES[damage](path)
    with pytest.raises(BadData) as caught:
        read_volume(path)
    assert "case.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path):
    save(tmp_path / "case.nii.gz", np.random.default_rng(1).integers(0, 5, (20, 30, 40)).astype(np.uint8))
    lying_header(tmp_path / "case.nii.gz")
    tracemalloc.start()
    with pytest.raises(BadData, match="truncated or damaged"):
        read_volume(tmp_path / "case.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # bytes, of 64e6 promised


def test_a_place_that_cannot_be_written_ends_in_one_line_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadData, match="cannot be written"):
        write_label_map(tmp_path / "file" / "case.nii.gz", label_map())
    with pytest.raises(BadSpec, match=r"ends in \.nii"):
        write_label_map(tmp_path / "case.mha", label_map())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_an_interruption_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half_saved(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    write_label_map(tmp_path / "case.nii.gz", label_map())
    before = (tmp_path / "case.nii.gz").read_bytes()
    monkeypatch.setattr(nib, "save", half_saved)
    with pytest.raises(Interrupted, match="no space left"):
        write_label_map(tmp_path / "case.nii.gz", label_map())
    assert (tmp_path / "case.nii.gz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["case.nii.gz"]


def test_the_same_labels_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_label_map(tmp_path / name / "case.nii.gz", label_map())
    assert (tmp_path / "a" / "case.nii.gz").read_bytes() == (tmp_path / "b" / "case.nii.gz").read_bytes()


@pytest.mark.real_data
def test_the_published_kidney_has_its_spacing_and_both_files_lie_on_one_grid(chaos_root: Path):
    if not (chaos_root / "kidneysegm").is_dir():
        pytest.skip("STEELYARD_DATA holds no kidneysegm")
    reference, segmentation = (read_volume(chaos_root / "kidneysegm" / f"{n}.nii") for n in ("GT", "T2w_LS-x-C"))
    assert reference.geometry.spacing_mm == pytest.approx((5.5, 1.895, 1.895), abs=1e-3)
    assert reference.geometry.same_grid(segmentation.geometry)
    overlap = np.count_nonzero((reference.intensities > 0) & (segmentation.intensities > 0))
    dice = 2 * overlap / (np.count_nonzero(reference.intensities) + np.count_nonzero(segmentation.intensities))
    assert dice == pytest.approx(0.913, abs=5e-4)  # published
