"""Phantom patients: files as in CHAOS, adult anatomy, MR physics, and no give-away for a classifier of grey values."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure

from steelyard.datasets import DATASETS, CaseKey, phantom
from steelyard.datasets.phantom import PhantomDataset, write_phantom
from steelyard.errors import BadData, BadSpec

PATIENTS, SIZE, SLICES = 8, 96, 18
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 63, 126, 189, 252
ORGANS = (LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN)
IN, OUT, T2 = "T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase", "T2SPIR/DICOM_anon"
EDGES = (slice(0, 9), slice(-9, None))  # rows or columns where no body is
IN_PLANE = generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]


@dataclass(frozen=True, eq=False)
class Series:
    """A series as pydicom and Pillow read it, independently of the project's readers."""

    headers: list[pydicom.Dataset]
    images: np.ndarray
    masks: np.ndarray
    names: list[str]
    mask_names: list[str]

    @property
    def affine(self) -> np.ndarray:
        """(slice, row, column, 1) → LPS mm, as DICOM PS3.3 C.7.6.2.1.1 tells it."""
        first, last = self.headers[0], self.headers[-1]
        start, end = (np.array(header.ImagePositionPatient, float) for header in (first, last))
        orientation = np.array(first.ImageOrientationPatient, float)
        row_mm, column_mm = map(float, first.PixelSpacing)
        affine = np.eye(4)
        affine[:3, 0] = (end - start) / (len(self.headers) - 1)
        affine[:3, 1] = orientation[3:] * row_mm
        affine[:3, 2] = orientation[:3] * column_mm
        affine[:3, 3] = start
        return affine

    def volume_ml(self, organ: int) -> float:
        return float((self.masks == organ).sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def centre_mm(self, organ: int) -> np.ndarray:
        return (self.affine @ [*np.argwhere(self.masks == organ).mean(0), 1])[:3]


def load(root: Path, patient: int, sequence: str) -> Series:
    folder = root / "Train_Sets" / "MR" / str(patient)
    files = sorted((folder / sequence).glob("*.dcm"))
    masks = sorted((folder / sequence.split("/")[0] / "Ground").glob("*.png"))
    headers = [pydicom.dcmread(file) for file in files]
    return Series(
        headers,
        np.stack([header.pixel_array for header in headers]),
        np.stack([np.array(Image.open(mask)) for mask in masks]),
        [file.stem for file in files],
        [mask.stem for mask in masks],
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, patients=PATIENTS, seed=5, size=SIZE, slices=SLICES)
    return folder


@pytest.fixture(scope="module")
def series(root: Path) -> dict[tuple[int, str], Series]:
    return {(n, sequence): load(root, n, sequence) for n in range(1, PATIENTS + 1) for sequence in (IN, OUT, T2)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- repeatability


def test_equal_seeds_write_equal_bytes_and_other_seeds_other_patients(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_phantom(tmp_path / name, patients=1, seed=seed, size=48, slices=5)
    first, again, other = (content(tmp_path / name) for name in "abc")
    assert len(first) == 2 * 5 + 7 + 5 + 7 + 1  # in, out, T2 (two slices more), masks of T1 and T2, manifest
    assert first == again
    assert first.keys() == other.keys()
    for sequence in (IN, OUT, T2):
        one, two = (load(tmp_path / name, 1, sequence) for name in "ac")
        assert (one.images != two.images).mean() > 0.5
        assert (one.masks != two.masks).any()


def test_a_patient_does_not_depend_on_how_many_there_are(root: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "two", patients=2, seed=5, size=SIZE, slices=SLICES)
    few, many = (content(folder / "Train_Sets") for folder in (tmp_path / "two", root))
    assert few.items() <= many.items()
    assert len(many) == 4 * len(few)  # 8 patients against 2


def test_no_two_files_share_an_instance_uid(series: dict[tuple[int, str], Series]) -> None:
    uids = [header.SOPInstanceUID for each in series.values() for header in each.headers]
    assert len(set(uids)) == len(uids) == PATIENTS * (2 * SLICES + SLICES + 2)


# ---- files as in CHAOS


def test_both_phases_share_series_and_place_and_differ_in_echo_and_protocol(
    series: dict[tuple[int, str], Series],
) -> None:
    inside, out = (series[2, sequence].headers for sequence in (IN, OUT))
    for one, other in zip(inside, out, strict=True):
        for tag in ("SeriesInstanceUID", "SeriesNumber", "StudyInstanceUID", "ImagePositionPatient", "PixelSpacing"):
            assert one[tag].value == other[tag].value, tag
    assert {float(header.EchoTime) for header in inside} == {4.604}
    assert {float(header.EchoTime) for header in out} == {2.302}
    assert {header.ProtocolName for header in inside} == {"T1DUAL_InPhase"}
    assert {header.ProtocolName for header in out} == {"T1DUAL_OutPhase"}
    t2 = series[2, T2].headers
    assert {header.ProtocolName for header in t2} == {"T2SPIR"}
    assert t2[0].SeriesInstanceUID != inside[0].SeriesInstanceUID
    assert t2[0].FrameOfReferenceUID == inside[0].FrameOfReferenceUID
    assert t2[0].PixelSpacing != inside[0].PixelSpacing


def test_names_are_even_in_phase_odd_out_of_phase_and_masks_pair_by_name(
    series: dict[tuple[int, str], Series],
) -> None:
    inside, out, t2 = (series[1, sequence] for sequence in (IN, OUT, T2))
    assert inside.names == [f"IMG-0004-{number:05d}" for number in range(2, 2 * SLICES + 1, 2)]
    assert out.names == [f"IMG-0004-{number:05d}" for number in range(1, 2 * SLICES, 2)]
    assert inside.mask_names == inside.names
    assert t2.mask_names == t2.names
    assert [header.InstanceNumber for header in inside.headers] == list(range(2, 2 * SLICES + 1, 2))


def test_pixels_are_unsigned_16_bit_without_rescale_and_masks_hold_the_four_grey_values(
    series: dict[tuple[int, str], Series],
) -> None:
    for each in series.values():
        assert each.images.dtype == np.uint16
        assert each.images.shape[1:] == each.masks.shape[1:] == (SIZE, SIZE)
        assert not any("RescaleSlope" in header for header in each.headers)
        assert each.masks.dtype == np.uint8
        assert set(np.unique(each.masks)) == {0, *ORGANS}


def test_slice_thickness_is_not_the_slice_step(series: dict[tuple[int, str], Series]) -> None:
    header = series[1, IN].headers[0]
    step_mm = np.linalg.norm(series[1, IN].affine[:3, 0])
    assert step_mm == pytest.approx(205 / SLICES, abs=1e-3)
    assert float(header.SpacingBetweenSlices) == pytest.approx(step_mm, abs=1e-3)
    assert float(header.SliceThickness) == pytest.approx(step_mm / 1.1, abs=0.06)


def test_the_field_of_view_does_not_depend_on_the_size(root: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "small", patients=1, seed=5, size=40, slices=4)
    for sequence in (IN, T2):
        coarse, fine = (load(folder, 1, sequence).headers[0] for folder in (tmp_path / "small", root))
        view_mm = float(fine.PixelSpacing[0]) * SIZE
        assert 380 <= view_mm <= 480
        assert float(coarse.PixelSpacing[0]) * 40 == pytest.approx(view_mm, abs=0.01)


def test_every_third_patient_is_slightly_oblique(series: dict[tuple[int, str], Series]) -> None:
    for patient in range(1, PATIENTS + 1):
        t1, t2 = series[patient, IN], series[patient, T2]
        orientation = np.array(t1.headers[0].ImageOrientationPatient, float)
        row, column, step = orientation[:3], orientation[3:], t1.affine[:3, 0]
        assert (list(orientation) != [1, 0, 0, 0, 1, 0]) == (patient in (2, 5, 8))
        assert np.abs(orientation - [1, 0, 0, 0, 1, 0]).max() < 0.04
        np.testing.assert_allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-9)
        np.testing.assert_allclose(step / np.linalg.norm(step), np.cross(row, column), atol=1e-6)
        assert t1.headers[0].ImageOrientationPatient == t2.headers[0].ImageOrientationPatient


# ---- anatomy


def test_organs_have_adult_volumes_on_both_grids(series: dict[tuple[int, str], Series]) -> None:
    limits = {LIVER: (900, 2200), RIGHT_KIDNEY: (75, 260), LEFT_KIDNEY: (75, 260), SPLEEN: (70, 420)}
    for patient in range(1, PATIENTS + 1):
        for organ, (low, high) in limits.items():
            t1_ml, t2_ml = (series[patient, sequence].volume_ml(organ) for sequence in (IN, T2))
            assert low < t1_ml < high, (patient, organ)
            assert t2_ml == pytest.approx(t1_ml, rel=0.08), (patient, organ)


def test_organs_lie_where_they_belong(series: dict[tuple[int, str], Series]) -> None:
    for patient in range(1, PATIENTS + 1):
        for sequence in (IN, T2):
            liver, right, left, spleen = (series[patient, sequence].centre_mm(organ) for organ in ORGANS)
            assert right[0] < left[0] - 80, "LPS x grows to the patient's left"
            assert liver[0] < left[0]
            assert spleen[0] > left[0]
            assert right[2] < left[2], "the right kidney is the lower one"
            assert liver[2] > right[2] + 30
            assert min(right[1], left[1]) > liver[1], "kidneys lie behind the liver"


def test_the_right_kidney_is_on_the_left_of_the_image(series: dict[tuple[int, str], Series]) -> None:
    right, left = (np.argwhere(series[1, IN].masks == organ)[:, 2] for organ in (RIGHT_KIDNEY, LEFT_KIDNEY))
    assert right.max() < left.min()


def test_t1_and_t2_show_the_same_anatomy_in_patient_coordinates(series: dict[tuple[int, str], Series]) -> None:
    for patient in range(1, PATIENTS + 1):
        for organ in ORGANS:
            t1, t2 = (series[patient, sequence].centre_mm(organ) for sequence in (IN, T2))
            assert np.linalg.norm(t1 - t2) < 3, (patient, organ)


def test_patients_differ(series: dict[tuple[int, str], Series]) -> None:
    livers = [series[patient, IN].masks == LIVER for patient in range(1, PATIENTS + 1)]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in combinations(livers, 2)]
    assert max(dice) < 0.92
    assert min(dice) > 0.4  # but all are livers


# ---- physics


def test_borders_between_organ_and_fat_go_dark_out_of_phase_only(series: dict[tuple[int, str], Series]) -> None:
    border, inner = [], []
    for patient in range(1, PATIENTS + 1):
        in_phase, out_phase = (series[patient, sequence].images.astype(float) for sequence in (IN, OUT))
        organ = np.isin(series[patient, IN].masks, (RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN))
        fat = ~organ & (in_phase > 1.6 * np.median(in_phase[organ]))
        rim = organ & binary_dilation(fat, IN_PLANE)
        core = binary_erosion(organ, IN_PLANE, iterations=2)
        border.append(out_phase[rim].mean() / in_phase[rim].mean())
        inner.append(out_phase[core].mean() / in_phase[core].mean())
    assert max(border) < 0.6
    assert np.mean(border) < 0.5
    assert min(inner) > 0.95


def test_pure_fat_keeps_its_signal_out_of_phase(series: dict[tuple[int, str], Series]) -> None:
    in_phase, out_phase = (series[1, sequence].images.astype(float) for sequence in (IN, OUT))
    fat = binary_erosion(in_phase > 0.75 * np.percentile(in_phase, 99.5), IN_PLANE)
    assert out_phase[fat].mean() / in_phase[fat].mean() == pytest.approx(0.88, abs=0.05)  # (.94 − .06) / (.94 + .06)


def test_t2_suppresses_fat_and_lifts_spleen_and_kidneys_over_the_liver(
    series: dict[tuple[int, str], Series],
) -> None:
    for patient in range(1, PATIENTS + 1):
        t1, t2 = series[patient, IN], series[patient, T2]
        liver, right, left, spleen = (np.median(t2.images[t2.masks == organ]) for organ in ORGANS)
        assert min(right, left, spleen) > 1.2 * liver
        t1_fat = np.percentile(t1.images, 99) / np.median(t1.images[t1.masks == LIVER])
        assert t1_fat > 1.5  # in T1 the brightest tissue; in T2 the skin's neighbour is darker than the liver
        body = t2.images > 0.15 * liver
        under_skin = body & ~binary_erosion(body, IN_PLANE, iterations=4)
        assert np.median(t2.images[under_skin]) < 0.7 * liver


def test_air_holds_rayleigh_noise(series: dict[tuple[int, str], Series]) -> None:
    """Rician noise without signal is Rayleigh's: mean / standard deviation = √(π/2) / √(2 − π/2) = 1.913."""
    for each in series.values():
        air = np.concatenate([each.images[:, rows, columns].ravel() for rows in EDGES for columns in EDGES]).astype(
            float
        )
        assert air.mean() > 0
        assert air.mean() / air.std() == pytest.approx(1.913, rel=0.05)


def test_coils_shade_the_fat_of_both_flanks_unequally(series: dict[tuple[int, str], Series]) -> None:
    unevenness = []
    for patient in range(1, PATIENTS + 1):
        image = series[patient, IN].images.astype(float)
        fat = image > 0.6 * np.percentile(image, 99)
        column = np.arange(SIZE) - np.argwhere(fat)[:, 2].mean()
        flanks = (np.median(image[fat & (side * column > 0.25 * SIZE)]) for side in (-1, 1))
        unevenness.append(abs(np.log(np.divide(*flanks))))
    assert np.mean(unevenness) > 0.05


# ---- no give-away


def grey_value_iou(cases: list[tuple[np.ndarray, np.ndarray]], *, test_count: int) -> np.ndarray:
    """Organ IoU, pooled over the last cases, of the best Bayes rule on grey values fitted to the first ones.

    Grey values are divided by each volume's 99th percentile and put into 128 bins. The best of several priors counts,
    from the organs' true frequency to equal ones.
    """
    binned = [np.clip(image / np.percentile(image, 99) * 85, 0, 127).astype(int) for image, _ in cases]
    classes = [np.searchsorted((0, *ORGANS), mask) for _, mask in cases]
    fit = np.stack(
        [
            np.bincount(
                np.concatenate([b[c == k] for b, c in zip(binned[:-test_count], classes, strict=False)]), minlength=128
            )
            for k in range(5)
        ]
    ).astype(float)
    size = fit.sum(1, keepdims=True)
    best = np.zeros(4)
    for prior in (0, 0.25, 0.5, 0.75, 1):
        rule = (fit / size * size**prior).argmax(0)
        truth = np.concatenate([c.ravel() for c in classes[-test_count:]])
        guess = np.concatenate([rule[b].ravel() for b in binned[-test_count:]])
        iou = np.array([((guess == k) & (truth == k)).sum() / ((guess == k) | (truth == k)).sum() for k in range(1, 5)])
        best = max(best, iou, key=np.mean)
    return best


@pytest.mark.parametrize("sequence", [IN, OUT, T2])
def test_grey_values_alone_do_not_find_the_organs(series: dict[tuple[int, str], Series], sequence: str) -> None:
    cases = [(series[n, sequence].images, series[n, sequence].masks) for n in range(1, PATIENTS + 1)]
    assert grey_value_iou(cases, test_count=3).mean() < 0.35


def test_that_classifier_finds_organs_where_grey_values_give_them_away(
    series: dict[tuple[int, str], Series],
) -> None:
    rng = np.random.default_rng(0)
    masks = [series[n, IN].masks for n in range(1, PATIENTS + 1)]
    cases = [(10 + 40 * np.searchsorted((0, *ORGANS), mask) + rng.normal(0, 3, mask.shape), mask) for mask in masks]
    for image, _ in cases:
        image[:, :3] = 250  # so that the 99th percentile is the same in all
    assert grey_value_iou(cases, test_count=3).min() > 0.95


# ---- writing


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("dear")
    with pytest.raises(BadData, match=r"^phantoms need a new or empty folder; .*used is in use\. [^\n]*$"):
        write_phantom(tmp_path / "used", patients=1, seed=0, size=32, slices=4)
    with pytest.raises(BadData, match="in use"):
        write_phantom(tmp_path / "used" / "letter.txt", patients=1, seed=0, size=32, slices=4)
    assert content(tmp_path) == {"used/letter.txt": b"dear"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=1, seed=0, size=32, slices=4)
    assert {path.name for path in tmp_path.iterdir()} == {"Train_Sets", "phantom.json"}


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    written = []

    def break_off(folder: Path, *_: object) -> None:
        written.extend(folder.rglob("*.dcm"))
        raise failure

    monkeypatch.setattr(phantom, "write_masks", break_off)
    wanted = BadData if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as caught:
        write_phantom(tmp_path / "new", patients=1, seed=0, size=32, slices=4)
    assert len(written) == 8
    assert list(tmp_path.iterdir()) == []
    if wanted is BadData:
        assert "No space left" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_options_out_of_range_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadSpec) as caught:
        write_phantom(tmp_path / "new", patients=0, seed=-1, size=20, slices=3)
    assert [error.split()[0] for error in caught.value.errors] == ["patients", "size", "slices", "seed"]
    assert not (tmp_path / "new").exists()


# ---- as a data set


def test_the_data_set_generates_reads_and_reuses(tmp_path: Path) -> None:
    options = {"patients": 2, "seed": 9, "size": 40, "slices": 6}
    made = DATASETS["phantom"](tmp_path / "auto", **options)
    assert made.sequences == ("t1_in", "t1_out", "t2_spir")
    assert made.label_set.class_names == ("background", "liver", "right_kidney", "left_kidney", "spleen")
    assert made.keys(("t2_spir",)) == (CaseKey("mr-01", "t2_spir"), CaseKey("mr-02", "t2_spir"))
    case = made.read(CaseKey("mr-02", "t1_in"))
    direct = load(tmp_path / "auto", 2, IN)
    np.testing.assert_array_equal(case.image.intensities, direct.images)
    assert case.reference is not None
    assert case.reference.volume_ml("spleen") == pytest.approx(direct.volume_ml(SPLEEN), rel=1e-6)
    assert len(made.files(CaseKey("mr-01", "t2_spir"))) == 8 + 8

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "auto").rglob("*")}
    PhantomDataset(tmp_path / "auto", **options)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "auto").rglob("*")} == before


@pytest.mark.parametrize("other", [{"patients": 2}, {"seed": 8}, {"size": 48}, {"slices": 7}])
def test_phantoms_made_with_other_options_are_not_taken_for_the_wanted_ones(
    tmp_path_factory: pytest.TempPathFactory, other: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("other") / "phantom"
    options = {"patients": 1, "seed": 9, "size": 32, "slices": 4}
    write_phantom(folder, **options)
    with pytest.raises(BadSpec, match=r"^[^\n]*should hold phantoms made with [^\n]*$"):
        PhantomDataset(folder, **{**options, **other})


def test_foreign_data_are_not_taken_for_phantoms(tmp_path: Path) -> None:
    (tmp_path / "Train_Sets").mkdir()
    with pytest.raises(BadSpec, match="something else"):
        PhantomDataset(tmp_path)
