"""What holds for every registered data set. A new one adds a function that writes a small copy of it."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from phantoms import write_chaos_patient
from steelyard.datasets import DATASETS, Dataset
from steelyard.datasets.fingerprint import data_hash, data_hashes
from steelyard.errors import SteelyardError


def write_chaos(root: Path) -> Dataset:
    for number in (2, 11):
        write_chaos_patient(root / "MR", number)
    return DATASETS["chaos"](root)


def write_nnunet(root: Path) -> Dataset:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    labels = np.zeros((5, 4, 3), np.uint8)
    labels[1:3, 1:4, :2] = 1
    for case in ("a", "b"):
        image = np.random.default_rng(ord(case)).normal(size=labels.shape).astype(np.float32)
        affine = np.diag([-1.0, -2.0, 3.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTr" / f"{case}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), root / "labelsTr" / f"{case}.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 2}
    (root / "dataset.json").write_text(json.dumps(about | {"file_ending": ".nii.gz"}))
    return DATASETS["nnunet"](root)


def write_phantoms(root: Path) -> Dataset:
    return DATASETS["phantom"](root / "phantoms", patients=2, seed=1, size=64, slices=12)


WRITERS: dict[str, Callable[[Path], Dataset]] = {
    "chaos": write_chaos,
    "nnunet": write_nnunet,
    "phantom": write_phantoms,
}


@pytest.fixture(scope="module", params=sorted(DATASETS))
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


def digest(dataset: Dataset) -> str:
    files = sorted({file for key in dataset.keys(dataset.sequences) for file in dataset.files(key)})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_cases_are_listed_sorted_and_once_with_safe_names(dataset: Dataset) -> None:
    keys = dataset.keys(dataset.sequences)
    assert len({key.patient_id for key in keys}) == 2
    assert list(keys) == sorted(set(keys))
    for key in keys:
        assert not set(key.case_id) & set("/\\ :*?\"'<>|")
        assert key.sequence in dataset.sequences


def test_a_case_is_what_its_key_says_with_labels_on_its_own_grid(dataset: Dataset) -> None:
    for key in dataset.keys(dataset.sequences):
        case = dataset.read(key)
        assert (case.case_id, case.patient_id, case.sequence) == (key.case_id, key.patient_id, key.sequence)
        assert case.reference is not None
        assert case.reference.label_set == dataset.label_set
        assert case.reference.geometry.same_grid(case.image.geometry)
        assert np.isfinite(case.image.intensities).all()
        assert set(np.unique(case.reference.labels)) <= set(range(dataset.label_set.class_count))
        assert (case.reference.labels > 0).any()


def test_the_patients_right_lies_at_low_columns_as_radiologists_look(dataset: Dataset) -> None:
    for key in dataset.keys(dataset.sequences):
        affine = dataset.read(key).image.geometry.affine
        assert affine[0, 2] > 0  # along columns towards the patient's left, in LPS
        assert affine[1, 1] > 0  # along rows towards the back
        assert affine[2, 0] > 0  # along slices towards the head


def test_reading_changes_no_file_and_answers_the_same_twice(dataset: Dataset) -> None:
    before = digest(dataset)
    key = dataset.keys(dataset.sequences)[0]
    one, two = dataset.read(key), dataset.read(key)
    np.testing.assert_array_equal(one.image.intensities, two.image.intensities)
    assert one.reference is not None
    assert two.reference is not None
    np.testing.assert_array_equal(one.reference.labels, two.reference.labels)
    assert digest(dataset) == before


def test_sent_to_another_process_it_reads_the_same(dataset: Dataset) -> None:
    sent = pickle.loads(pickle.dumps(dataset))
    for key in dataset.keys(dataset.sequences):
        assert sent.files(key) == dataset.files(key)
        here, there = dataset.read(key), sent.read(key)
        assert here.reference is not None
        np.testing.assert_array_equal(there.reference.labels, here.reference.labels)
        np.testing.assert_array_equal(there.image.intensities, here.image.intensities)


def test_the_files_of_a_case_exist_and_its_hash_is_its_own(dataset: Dataset) -> None:
    keys = dataset.keys(dataset.sequences[:1])
    assert all(file.is_file() for key in keys for file in dataset.files(key))
    hashes = [data_hash(dataset, (key,)) for key in keys]
    assert len(set(hashes)) == len(keys)
    assert hashes == [data_hash(dataset, (key,)) for key in keys]
    every = dataset.keys(dataset.sequences)  # some of their files belong to several cases
    assert data_hashes(dataset, every) == {key: data_hash(dataset, (key,)) for key in every}


def test_an_unknown_sequence_and_a_missing_folder_end_in_one_line(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SteelyardError) as caught:
        dataset.keys(("t9_sideways",))
    assert "t9_sideways" in str(caught.value)
    assert "\n" not in str(caught.value)
    if isinstance(dataset, DATASETS["phantom"]):  # type: ignore[arg-type]
        return  # it makes its folder
    with pytest.raises(SteelyardError) as caught:
        type(dataset)(tmp_path / "absent")  # type: ignore[call-arg]
    assert "absent" in str(caught.value)
    assert "\n" not in str(caught.value)
