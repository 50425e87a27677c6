"""Masks from disk: PNG masks follow their own image to its place in the stack, whatever the names' order."""

import shutil

import numpy as np

from steelyard.datasets.phantom import write_phantom
from steelyard.evaluate.mask_files import PngMasks
from steelyard.evaluate.structures import Reading
from steelyard.io.dicom_series import read_headers
from steelyard.labels import CHAOS_MR


def test_names_that_run_against_the_positions_change_nothing(tmp_path):
    write_phantom(tmp_path / "phantom", patients=1, seed=3, size=64, slices=6)
    patient = tmp_path / "phantom" / "Train_Sets" / "MR" / "1" / "T1DUAL"
    images, masks = patient / "DICOM_anon" / "InPhase", patient / "Ground"
    for folder in (images, masks):
        turned = tmp_path / "turned" / folder.name
        turned.mkdir(parents=True)
        for number, file in enumerate(sorted(folder.iterdir(), reverse=True)):
            shutil.copy(file, turned / f"{number:03d}{file.suffix}")
    wanted = PngMasks(masks, read_headers(images)).read(Reading.by_source_value(CHAOS_MR))
    found = PngMasks(tmp_path / "turned" / "Ground", read_headers(tmp_path / "turned" / "InPhase")).read(
        Reading.by_source_value(CHAOS_MR)
    )
    assert (wanted.labels != wanted.labels[::-1]).any()
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert found.geometry.same_grid(wanted.geometry)
