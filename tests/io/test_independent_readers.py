"""Other people's readers find the organs of NIfTI, SEG and RTSTRUCT files in the same voxels of the patient."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from numpy.testing import assert_allclose, assert_array_equal

from scans import LAYOUTS, Layout, knotty_labels, write_scan
from steelyard.io.dicom_seg import write_seg
from steelyard.io.dicom_series import Series, read_headers
from steelyard.io.nifti import write_label_map
from steelyard.io.png_masks import read_masks
from steelyard.io.rtstruct import write_rtstruct
from steelyard.labels import CHAOS_MR
from steelyard.volume import LabelMap

RT_UTILS = Path(__file__).parents[2] / ".venv-rt-utils" / "bin" / "python"
ORGANS = [organ.title for organ in CHAOS_MR.organs]
CHAOS_ML = [1488.7, 198.9, 203.7, 121.4]  # liver, right kidney, left kidney, spleen of the first patient's T1


@dataclass(frozen=True)
class Written:
    """A scan and the three files of its organs."""

    layout: Layout
    series: Series
    labels: np.ndarray
    folder: Path

    @property
    def places_mm(self) -> dict[int, np.ndarray]:
        """Where the voxels of each organ lie (LPS), from the layout alone."""
        return {index: self.layout.places_mm(np.argwhere(self.labels == index)) for index in (1, 2, 3, 4)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    found = {}
    for name, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp("scan")
        series, labels = write_scan(folder / "scan", layout), knotty_labels(layout.shape)
        label_map = LabelMap(labels, series.geometry, CHAOS_MR)
        write_label_map(folder / "organs.nii.gz", label_map)
        write_seg(folder / "seg.dcm", label_map, series)
        write_rtstruct(folder / "rtstruct.dcm", label_map, series)
        found[name] = Written(layout, series, labels, folder)
    return found


def same_places(found: np.ndarray, wanted: np.ndarray) -> None:
    """The same points, in whichever order, within 1 µm."""
    assert found.shape == wanted.shape
    order = [np.lexsort(np.round(points, 2).T) for points in (found, wanted)]
    assert_allclose(found[order[0]], wanted[order[1]], atol=1e-3)


@pytest.mark.parametrize("name", LAYOUTS)
def test_nibabel_finds_the_voxels_of_the_nifti_file(written: dict[str, Written], name: str):
    case = written[name]
    image = nib.load(case.folder / "organs.nii.gz")
    voxels = np.asarray(image.dataobj)
    for index, wanted in case.places_mm.items():
        ras = nib.affines.apply_affine(image.affine, np.argwhere(voxels == index))
        same_places(ras * [-1, -1, 1], wanted)


@pytest.mark.parametrize("name", LAYOUTS)
def test_highdicom_finds_the_voxels_of_the_segmentation(written: dict[str, Written], name: str):
    case = written[name]
    volume = hd.seg.segread(case.folder / "seg.dcm").get_volume(combine_segments=True)
    assert volume.spatial_shape == case.layout.shape  # no frame was left out
    for index, wanted in case.places_mm.items():
        same_places(volume.map_indices_to_reference(np.argwhere(volume.array == index)), wanted)


@pytest.mark.parametrize("name", LAYOUTS)
def test_highdicom_finds_each_slice_by_the_image_that_it_refers_to(written: dict[str, Written], name: str):
    case = written[name]
    images = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in case.series.files]
    content = hd.seg.segread(case.folder / "seg.dcm")
    assert_array_equal(content.get_pixels_by_source_instance(images, combine_segments=True), case.labels)


@pytest.mark.parametrize("name", LAYOUTS)
def test_polygons_of_the_structure_set_hold_the_centres_of_the_voxels(written: dict[str, Written], name: str):
    case = written[name]
    slices = {pydicom.dcmread(file).SOPInstanceUID: k for k, file in enumerate(case.series.files)}
    along_row, along_column = np.array(case.layout.orientation).reshape(2, 3)
    found = np.zeros(case.layout.shape, int)
    centres = np.stack(np.mgrid[: found.shape[1], : found.shape[2]], axis=-1).reshape(-1, 2)
    for region in pydicom.dcmread(case.folder / "rtstruct.dcm").ROIContourSequence:
        for contour in region.ContourSequence:
            k = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            points = np.array(contour.ContourData, float).reshape(-1, 3) - case.layout.places_mm([[k, 0, 0]])
            assert_allclose(points @ np.cross(along_row, along_column), 0, atol=1e-5)  # in the plane of its slice
            pixels = np.stack([points @ along_column, points @ along_row], axis=1) / case.layout.pixel_spacing
            held = Polygon(np.vstack([pixels, pixels[:1]]), closed=True).contains_points(centres)
            found[k] += int(region.ReferencedROINumber) * held.reshape(found.shape[1:])
    assert_array_equal(found, case.labels)


def test_rt_utils_finds_the_voxels_of_the_structure_set(written: dict[str, Written], tmp_path: Path):
    masks = rt_utils_masks(
        tmp_path, *[(case.folder / "scan", case.folder / "rtstruct.dcm") for case in written.values()]
    )
    for number, case in enumerate(written.values()):
        for index, organ in enumerate(ORGANS, 1):
            assert_array_equal(masks[f"{number} {organ}"], case.labels == index)


@pytest.mark.real_data
def test_a_real_patients_organs_come_back_voxel_by_voxel(chaos_root: Path, tmp_path: Path):
    sequence = chaos_root / "Train_Sets" / "MR" / "1" / "T1DUAL"
    series = read_headers(sequence / "DICOM_anon" / "InPhase")
    labels = read_masks([sequence / "Ground" / f"{file.stem}.png" for file in series.files], CHAOS_MR)
    label_map = LabelMap(labels, series.geometry, CHAOS_MR)
    assert [round(label_map.volume_ml(organ.name), 1) for organ in CHAOS_MR.organs] == CHAOS_ML
    write_seg(tmp_path / "seg.dcm", label_map, series, pseudonym="P01")
    write_rtstruct(tmp_path / "rtstruct.dcm", label_map, series, pseudonym="P01")
    volume = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    voxel_ml = volume.voxel_volume / 1000
    assert [round((volume.array == index).sum() * voxel_ml, 1) for index in (1, 2, 3, 4)] == CHAOS_ML
    masks = rt_utils_masks(tmp_path, (sequence / "DICOM_anon" / "InPhase", tmp_path / "rtstruct.dcm"))
    for index, organ in enumerate(ORGANS, 1):
        assert_array_equal(masks[f"0 {organ}"], labels == index)


def rt_utils_masks(folder: Path, *pairs: tuple[Path, Path]) -> dict[str, np.ndarray]:
    """The masks of all structure sets, from one process of the environment that holds rt-utils."""
    if not RT_UTILS.exists() or not RT_UTILS.parents[1].joinpath(".done").exists():
        pytest.skip("rt-utils is not installed: `make .venv-rt-utils/.done` does")
    script = Path(__file__).with_name("rt_utils_masks.py")
    paths = [str(path) for pair in pairs for path in pair]
    subprocess.run([RT_UTILS, script, folder / "masks.npz", *paths], check=True, capture_output=True, text=True)
    with np.load(folder / "masks.npz") as masks:
        return dict(masks)
