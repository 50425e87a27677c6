"""A folder in nnU-Net's format: images, labels and a dataset.json that names channels and organs.

    dataset.json   imagesTr/<case>_0000.nii.gz, <case>_0001.nii.gz, …   labelsTr/<case>.nii.gz

Each case counts as a patient of its own, because the format does not say whose image it is: give one case per patient,
or folds will put images of one patient on both sides.

Source: nnU-Net v2, documentation/dataset_format.md (github.com/MIC-DKFZ/nnUNet).
"""

from __future__ import annotations

import colorsys
import json
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.datasets import DATASETS, CaseKey
from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.io.dicom_series import is_litter
from steelyard.io.nifti import SUFFIXES, read_label_map, read_volume
from steelyard.labels import UNKNOWN_CLASS, LabelSet, Organ
from steelyard.volume import Case

# Okabe & Ito's palette without black, told apart by colour-blind readers too; further organs get generated colours.
PALETTE = (
    (213, 94, 0),
    (240, 228, 66),
    (0, 158, 115),
    (86, 180, 233),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
)
GOLDEN_ANGLE = 0.381966  # of a turn of hue: neighbours in a sequence never come close
LIGHTNESS_STEPS = (0.35, 0.6, 0.8)  # hue alone is lost on colour-blind readers; lightness is not
NOT_IN_FILE_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


@DATASETS.register("nnunet", "nnU-Net v2 folder: imagesTr, labelsTr and dataset.json, with any label set")
class NnunetDataset:
    """The cases under `root`, the folder that holds dataset.json.

    There is one sequence, named after the channels joined by `+` (`T1+T2`; blanks become `_`); several channels give an
    image (channel, slice, row, column). Without a labelsTr folder the cases have no reference. Labels given as regions
    (lists) and the ignore label are refused, as no loss or metric here would treat them as nnU-Net does.
    """

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        description = _description(self._root / "dataset.json")
        self._channels = _channels(description, self._root)
        self._label_set = _label_set(description, self._root)
        self._ending = _ending(description, self._root)

    @property
    def label_set(self) -> LabelSet:
        """The organs of dataset.json; class index = source value = nnU-Net's label value."""
        return self._label_set

    @property
    def sequences(self) -> tuple[str, ...]:
        """One name: the channels joined by `+`."""
        return ("+".join(self._channels),)

    def keys(self, sequences: tuple[str, ...]) -> tuple[CaseKey, ...]:
        """Every case that has an image or a label, sorted; what is missing is told when the case is read."""
        for sequence in sequences:
            if sequence not in self.sequences:
                raise BadSpec(unknown_name("sequence of this nnU-Net folder", sequence, self.sequences))
        return tuple(sorted(CaseKey(case, sequence) for case in self._cases for sequence in sequences))

    def files(self, key: CaseKey) -> tuple[Path, ...]:
        """The channels' images and the labels."""
        return tuple(sorted(self._images(key) + self._labels(key)))

    def read(self, key: CaseKey) -> Case:
        """The case with its channels on one grid and its labels on the same."""
        volumes = [read_volume(path) for path in self._images(key)]
        image = volumes[0]
        for channel, volume in zip(self._channels[1:], volumes[1:], strict=True):
            if not volume.geometry.same_grid(image.geometry):
                raise BadData(
                    f"case {key.patient_id}: channels {self._channels[0]} and {channel} lie on different grids. "
                    "Register and resample them first."
                )
        if len(volumes) > 1:
            image = replace(image, intensities=np.stack([volume.intensities for volume in volumes]))
        references = [read_label_map(path, self.label_set) for path in self._labels(key)]
        if references and not references[0].geometry.same_grid(image.geometry):
            raise BadData(
                f"case {key.patient_id}: image and labels lie on different grids. Resample the labels to the image.",
                file=self._labels(key)[0],
            )
        return Case(key.case_id, key.patient_id, key.sequence, image, references[0] if references else None)

    @cached_property
    def _cases(self) -> frozenset[str]:
        channel = re.compile(rf"(.+)_\d{{4}}{re.escape(self._ending)}")
        images = {match[1] for name in _names(self._root / "imagesTr") if (match := channel.fullmatch(name))}
        if not images:
            raise BadData(
                f"no images named <case>_0000{self._ending} in {self._root / 'imagesTr'}. Name the folder that holds "
                "dataset.json and imagesTr."
            )
        labels = {name.removesuffix(self._ending) for name in self._label_names if name.endswith(self._ending)}
        return frozenset(images | labels)

    @cached_property
    def _label_names(self) -> tuple[str, ...]:
        folder = self._root / "labelsTr"
        return _names(folder) if folder.is_dir() else ()

    def _images(self, key: CaseKey) -> tuple[Path, ...]:
        if key.patient_id not in self._cases:
            raise BadSpec(unknown_name("case", key.patient_id, self._cases))
        paths = [
            self._root / "imagesTr" / f"{key.patient_id}_{channel:04d}{self._ending}"
            for channel in range(len(self._channels))
        ]
        for path, channel in zip(paths, self._channels, strict=True):
            if not path.is_file():
                raise BadData(
                    f"case {key.patient_id}: no image {path.name} of channel {channel}. Copy the folder again.",
                    file=path,
                )
        return tuple(paths)

    def _labels(self, key: CaseKey) -> tuple[Path, ...]:
        if not self._label_names:
            return ()
        path = self._root / "labelsTr" / f"{key.patient_id}{self._ending}"
        if path.name not in self._label_names:
            raise BadData(f"case {key.patient_id}: no labels {path.name}. Copy the folder again.", file=path)
        return (path,)


def _description(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"no dataset.json in {file.parent}. Name the folder of one nnU-Net data set.") from None
    except OSError as error:
        raise BadData(f"{file} cannot be read ({error.strerror}). Copy it again.", file=file) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors; the first line says where
        raise BadData(f"{file} is not JSON ({str(error).splitlines()[0]}). Correct it.", file=file) from None
    if not isinstance(content, dict):
        raise BadData(f"{file} holds a {type(content).__name__} where an object is wanted. Correct it.", file=file)
    if "channel_names" not in content and "modality" in content:
        raise BadData(
            f"{file} is in the format of nnU-Net v1. Convert it with nnUNetv2_convert_MSD_dataset.", file=file
        )
    return content


def _channels(description: dict[str, Any], root: Path) -> tuple[str, ...]:
    """Channel names by their numbers, fit for file names."""
    names = description.get("channel_names")
    wanted = '{"0": "T1", "1": "T2", …}'
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))) or not names:
        raise BadData(
            f"{root / 'dataset.json'}: channel_names is {_short(names)} where {wanted} is wanted. Correct it."
        )
    return tuple(_safe(str(names[str(channel)])) for channel in range(len(names)))


def _ending(description: dict[str, Any], root: Path) -> str:
    ending = description.get("file_ending")
    if not isinstance(ending, str) or ending not in SUFFIXES:
        raise BadData(
            f"{root / 'dataset.json'}: file_ending is {_short(ending)} where .nii.gz or .nii is read. "
            "Convert the images to NIfTI."
        )
    return ending


def _label_set(description: dict[str, Any], root: Path) -> LabelSet:
    file, labels = root / "dataset.json", description.get("labels")
    if not isinstance(labels, dict) or labels.get("background") != 0:
        raise BadData(
            f'{file}: labels is {_short(labels)} where {{"background": 0, "liver": 1, …}} is wanted. Correct it.'
        )
    organs = {name: value for name, value in labels.items() if name != "background"}
    for name, value in organs.items():
        if isinstance(value, list):
            raise BadData(f"{file}: label {name!r} is a region (a list of values). Write one value per organ.")
        if name == "ignore":
            raise BadData(
                f"{file}: the ignore label is not supported. Label the ignored voxels, or leave out the case."
            )
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadData(f"{file}: label {name!r} is {_short(value)} where a whole number is wanted. Correct it.")
    by_value = sorted(organs, key=lambda name: organs[name])
    values = [organs[name] for name in by_value]
    if not values or values != list(range(1, len(values) + 1)) or values[-1] >= UNKNOWN_CLASS:
        raise BadData(
            f"{file}: label values are {_short(values)} where 1, 2, 3, … without gaps is wanted. Renumber them."
        )
    try:
        return LabelSet(
            tuple(Organ(_safe(name), organs[name], organs[name], _colour(organs[name])) for name in by_value)
        )
    except BadData as error:
        raise BadData(f"{file}: {error}") from None


def _colour(index: int) -> tuple[int, int, int]:
    if index <= len(PALETTE):
        return PALETTE[index - 1]
    lightness = LIGHTNESS_STEPS[index % len(LIGHTNESS_STEPS)]
    red, green, blue = colorsys.hls_to_rgb(index * GOLDEN_ANGLE % 1, lightness, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(path.name for path in folder.iterdir() if not is_litter(path)))
    except OSError as error:
        raise BadData(f"the folder {folder} cannot be read ({error.strerror}). Copy it again.", file=folder) from None


def _safe(name: str) -> str:
    return NOT_IN_FILE_NAMES.sub("_", name.strip()) or "_"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
