"""CHAOS: abdominal MR (T1 in-phase and out-of-phase, T2-SPIR) and CT with expert masks of liver, kidneys and spleen.

The tree as the archive holds it, `<n>` a patient's number:

    MR/<n>/T1DUAL/DICOM_anon/InPhase   MR/<n>/T1DUAL/DICOM_anon/OutPhase   MR/<n>/T1DUAL/Ground
    MR/<n>/T2SPIR/DICOM_anon           MR/<n>/T2SPIR/Ground
    CT/<n>/DICOM_anon                  CT/<n>/Ground

Source: Kavur et al., CHAOS, doi 10.5281/zenodo.3431873, and what the files show: the two phases share their series, the
masks bear the names of the in-phase (and T2) images, and CT masks follow the order of the CT files' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from steelyard.datasets import DATASETS, CaseKey
from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.io.dicom_series import Series, image_files, is_litter, read_headers, read_pixels
from steelyard.io.png_masks import read_masks
from steelyard.labels import CHAOS_CT, CHAOS_MR, LabelSet
from steelyard.volume import Case, LabelMap, Volume

AGAIN = "Extract the archive again."
FEW_NAMES = 3  # files in one message
PHASE_TOLERANCE_MS = 0.5  # the phases lie 2.3 ms apart at 1.5 T; in the files each varies by 0.03 ms


@dataclass(frozen=True)
class _Sequence:
    title: str
    images: str
    masks: str
    protocol: str
    echo_time_ms: float | None = None


T1_IN = _Sequence("T1DUAL InPhase", "T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground", "T1DUAL_InPhase", 4.6)
T1_OUT = _Sequence("T1DUAL OutPhase", "T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground", "T1DUAL_OutPhase", 2.3)
T2_SPIR = _Sequence("T2SPIR", "T2SPIR/DICOM_anon", "T2SPIR/Ground", "T2SPIR")
CT = _Sequence("CT", "DICOM_anon", "Ground", "")

MR_SEQUENCES = {"t1_in": T1_IN, "t1_out": T1_OUT, "t2_spir": T2_SPIR}
CT_SEQUENCES = {"ct": CT}


@DATASETS.register("chaos", "CHAOS: abdominal MR and CT in the layout of the original archive (DICOM and PNG masks)")
class ChaosDataset:
    """The patients of one modality under `root`: the folder that holds Train_Sets, Train_Sets or Test_Sets, MR or CT.

    Where MR and CT lie side by side, MR is meant; name the CT folder itself for CT, because the label sets differ.
    Where Train_Sets and Test_Sets lie side by side, Train_Sets is meant. When no patient has a Ground folder
    (Test_Sets), cases come without reference; when some have, its absence is an error.
    """

    def __init__(self, root: Path | str) -> None:
        self._folder, self._modality = _patients_folder(Path(root))
        self._known = MR_SEQUENCES if self._modality == "MR" else CT_SEQUENCES

    @property
    def label_set(self) -> LabelSet:
        """Liver, kidneys and spleen for MR; the liver alone for CT."""
        return CHAOS_MR if self._modality == "MR" else CHAOS_CT

    @property
    def sequences(self) -> tuple[str, ...]:
        """Those of which at least one patient has the folder: `t1_in`, `t1_out`, `t2_spir`, or `ct`."""
        tops = {name: sequence.images.split("/")[0] for name, sequence in self._known.items()}
        return tuple(name for name, top in tops.items() if any((p / top).is_dir() for p in self._patients.values()))

    def keys(self, sequences: tuple[str, ...]) -> tuple[CaseKey, ...]:
        """Every patient with every sequence; `t1_in+t1_out` joins the registered phases as channels."""
        for sequence in sequences:
            self._parts(sequence)
        return tuple(sorted(CaseKey(patient, sequence) for patient in self._patients for sequence in sequences))

    def files(self, key: CaseKey) -> tuple[Path, ...]:
        """Images and masks of a case; for the out-phase also the in-phase images, which order its masks."""
        found: set[Path] = set()
        for name in self._parts(key.sequence):
            sequence = self._known[name]
            with self._named(key.patient_id, sequence):
                found |= set(image_files(self._path(key.patient_id, sequence.images)))
                if self._labelled:
                    found |= set(image_files(self._path(key.patient_id, sequence.masks)))
                    if sequence == T1_OUT:
                        found |= set(image_files(self._path(key.patient_id, T1_IN.images)))
        return tuple(sorted(found))

    def read(self, key: CaseKey) -> Case:
        """Image and reference on the image's own grid; phases that were asked together lie on one grid."""
        parts = [self._read_one(key.patient_id, name) for name in self._parts(key.sequence)]
        image, reference = parts[0]
        for name, (other, _) in zip(self._parts(key.sequence)[1:], parts[1:], strict=True):
            if not other.geometry.same_grid(image.geometry):
                raise BadData(
                    f"patient {self._number(key.patient_id)}: {self._parts(key.sequence)[0]} and {name} lie on "
                    "different grids, so they cannot be channels of one image. Ask for them separately."
                )
        if len(parts) > 1:
            image = replace(image, intensities=np.stack([part.intensities for part, _ in parts]))
        return Case(key.case_id, key.patient_id, key.sequence, image, reference)

    def _read_one(self, patient_id: str, name: str) -> tuple[Volume, LabelMap | None]:
        sequence = self._known[name]
        with self._named(patient_id, sequence):
            series = self._series(patient_id, sequence)
            masks = self._masks(patient_id, sequence, series) if self._labelled else None
            image = read_pixels(series)
            if masks is None:
                return image, None
            labels = read_masks(masks, self.label_set)
            if labels.shape != image.geometry.shape:
                raise BadData(
                    f"masks have {labels.shape[1]} × {labels.shape[2]} pixels where images have "
                    f"{image.geometry.shape[1]} × {image.geometry.shape[2]} ({masks[0].name}). {AGAIN}",
                    file=masks[0],
                )
            return image, LabelMap(labels, image.geometry, self.label_set)

    def _series(self, patient_id: str, sequence: _Sequence) -> Series:
        series = read_headers(image_files(self._path(patient_id, sequence.images)))
        first = series.files[0].name
        others = {other.protocol for other in self._known.values()} - {sequence.protocol}
        if series.protocol in others:
            raise BadData(
                f"{first} comes from protocol {series.protocol}: swapped images. {AGAIN}", file=series.files[0]
            )
        if sequence.echo_time_ms is not None:
            echo = series.echo_time_ms
            if echo is None or abs(echo - sequence.echo_time_ms) > PHASE_TOLERANCE_MS:
                came = "no echo time" if echo is None else f"echo time {echo:g} ms"
                raise BadData(
                    f"{first} has {came} where {sequence.echo_time_ms:g} ms is wanted: swapped echo. {AGAIN}",
                    file=series.files[0],
                )
        return series

    def _masks(self, patient_id: str, sequence: _Sequence, series: Series) -> tuple[Path, ...]:
        """The mask files in slice order: by name, by the order of names (CT), or through the in-phase (out-phase)."""
        masks = image_files(self._path(patient_id, sequence.masks))
        if sequence == CT:
            return _masks_by_order(series, masks)
        if sequence != T1_OUT:
            return _masks_by_name(series, masks)
        in_phase = self._series(patient_id, T1_IN)
        ordered = _masks_by_name(in_phase, masks)
        if len(series.files) != len(ordered):
            raise BadData(f"{len(series.files)} images but {len(ordered)} masks (named after the in-phase). {AGAIN}")
        if not in_phase.geometry.same_grid(series.geometry):
            first = series.files[0]
            raise BadData(
                f"{first.name} is off the grid of the in-phase images, which own the masks. {AGAIN}", file=first
            )
        return ordered

    @cached_property
    def _patients(self) -> dict[str, Path]:
        """Folders by patient id. The id comes from the folder's number; names in headers never count."""
        numbers = {int(folder.name): folder for folder in _numbered(self._folder)}
        return {f"{self._modality.lower()}-{number:02d}": numbers[number] for number in sorted(numbers)}

    @cached_property
    def _labelled(self) -> bool:
        return any(
            (folder / sequence.masks).is_dir()
            for folder in self._patients.values()
            for sequence in self._known.values()
        )

    def _parts(self, sequence: str) -> tuple[str, ...]:
        names = tuple(sequence.split("+"))
        for name in names:
            if name not in self._known and name in MR_SEQUENCES | CT_SEQUENCES:
                raise BadSpec(
                    f"sequence {name!r} was asked of the {self._modality} images in {self._folder}. MR and CT have "
                    f"different labels and cannot be mixed: name the other folder as root."
                )
            if name not in self._known:
                raise BadSpec(unknown_name("CHAOS sequence", name, self._known))
        if len(set(names)) != len(names):
            raise BadSpec(f"sequence {sequence!r} names one sequence twice. Name each once.")
        return names

    def _path(self, patient_id: str, inside: str) -> Path:
        if patient_id not in self._patients:
            raise BadSpec(unknown_name("patient", patient_id, self._patients))
        return self._patients[patient_id] / inside

    def _number(self, patient_id: str) -> str:
        return self._path(patient_id, "").name

    @contextmanager
    def _named(self, patient_id: str, sequence: _Sequence) -> Iterator[None]:
        """What goes wrong inside is told with patient and sequence."""
        number = self._number(patient_id)
        try:
            yield
        except BadData as error:
            raise BadData(f"patient {number}, {sequence.title}: {error}", file=error.file) from None


def _masks_by_name(series: Series, masks: tuple[Path, ...]) -> tuple[Path, ...]:
    by_stem = {mask.stem: mask for mask in masks}
    stems = [file.stem for file in series.files]
    counts = f"{len(stems)} images but {len(masks)} masks"
    bare = [file for file in series.files if file.stem not in by_stem]
    if bare:
        raise BadData(f"{counts} (no mask for {_some(sorted(file.stem for file in bare))}). {AGAIN}", file=bare[0])
    stray = [mask for mask in masks if mask.stem not in stems]
    if stray:
        raise BadData(f"{counts} (no image for {_some([mask.name for mask in stray])}). {AGAIN}", file=stray[0])
    return tuple(by_stem[stem] for stem in stems)


def _masks_by_order(series: Series, masks: tuple[Path, ...]) -> tuple[Path, ...]:
    """Mask k belongs to the k-th image by name; it follows that image to its place in the stack."""
    if len(series.files) != len(masks):
        raise BadData(f"{len(series.files)} images but {len(masks)} masks. {AGAIN}")
    in_name_order = sorted(series.files, key=_natural)
    mask_of = dict(zip(in_name_order, sorted(masks, key=_natural), strict=True))
    return tuple(mask_of[file] for file in series.files)


def _some(names: list[str]) -> str:
    rest = len(names) - FEW_NAMES
    return ", ".join(names[:FEW_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sorts `_9` before `_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _patients_folder(root: Path) -> tuple[Path, str]:
    """The folder whose children are patients, and its modality."""
    if not root.is_dir():
        raise BadData(f"no folder {root}. Name the folder that holds CHAOS's Train_Sets.")
    places = [root / top for top in ("Train_Sets", "Test_Sets", ".") if (root / top).is_dir()]
    for place in places:
        for modality in ("MR", "CT"):
            if (place / modality).is_dir() and _numbered(place / modality):
                return place / modality, modality
    patients = _numbered(root)
    if any((patient / top).is_dir() for patient in patients for top in ("T1DUAL", "T2SPIR")):
        return root, "MR"
    if any((patient / CT.images).is_dir() for patient in patients):
        return root, "CT"
    raise BadData(
        f"no CHAOS patients in {root}: Train_Sets, MR or CT was looked for, with numbered folders that hold T1DUAL, "
        "T2SPIR or DICOM_anon. Name the folder that holds Train_Sets."
    )


def _numbered(folder: Path) -> list[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise BadData(f"the folder {folder} cannot be read ({error.strerror}). Allow reading, or copy it.") from None
    return [child for child in children if child.name.isdecimal() and child.is_dir() and not is_litter(child)]
