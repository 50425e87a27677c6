"""Scores from files: a reference and a prediction, as NIfTI files, folders of them, or folders of PNG masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.case import OF_STUDIES, CaseEvaluation, ConventionName, evaluate_case
from steelyard.evaluate.label_sets import labels_of_values
from steelyard.evaluate.mask_files import NiftiMask, PngMasks, nifti_files, png_files, without_suffix
from steelyard.io.dicom_series import Series, read_headers
from steelyard.io.nifti import SUFFIXES
from steelyard.labels import CHAOS_MR, LabelSet
from steelyard.volume import LabelMap

FEW_NAMES = 5  # missing counterparts in a message

WHITE = 255
BINARY = ([{1}, {WHITE}], [{WHITE}, {1}])  # one organ, written in two manners

Mask = NiftiMask | PngMasks


@dataclass(frozen=True)
class PathPair:
    """One case on disk: reference and prediction, not read yet, and the organs that both are read with."""

    case_id: str
    reference: Mask
    prediction: Mask
    label_set: LabelSet
    or_indices: bool

    def read(self) -> tuple[LabelMap, LabelMap]:
        """Reference and prediction, each on its own grid."""
        reference, prediction = (
            mask.read(self.label_set, or_indices=self.or_indices) for mask in (self.reference, self.prediction)
        )
        return reference, prediction


def evaluate_paths(
    reference: Path,
    prediction: Path,
    *,
    dicom: Path | None = None,
    conventions: Sequence[ConventionName] = OF_STUDIES,
    labels: LabelSet | None = None,
) -> list[CaseEvaluation]:
    """Every case of `prediction` scored against its counterpart of equal name in `reference`.

    Arguments and errors are those of `find_pairs`. Files know no patient: `patient_id` is the case's name.
    """
    evaluations = []
    for pair in find_pairs(reference, prediction, dicom=dicom, labels=labels):
        masks = pair.read()
        evaluations.append(
            evaluate_case(*masks, case_id=pair.case_id, patient_id=pair.case_id, conventions=conventions)
        )
    return evaluations


def find_pairs(
    reference: Path, prediction: Path, *, dicom: Path | None = None, labels: LabelSet | None = None
) -> list[PathPair]:
    """Every case of `prediction` with its counterpart of equal name in `reference`, sorted by name.

    Args:
        reference, prediction: two NIfTI files, whose names may differ (the case is called after the prediction); two
            folders of NIfTI files with equal names; or folders of PNG masks. A file and a PNG folder may be mixed.
        dicom: the DICOM series that PNG masks were drawn on: it owns their grid.
        labels: organs and the values that stand for them in the files. Without it every value v found is an organ
            `label_v`; masks that hold no value but CHAOS's (63, 126, 189, 252) are read as its organs, with NIfTI
            files of class indices beside them allowed, and binary masks of 1 and of 255 are one organ.

    Raises:
        BadData: a file that cannot be read, a case without counterpart, grids or values that do not fit.
        BadSpec: `dicom` missing for PNG masks, or given without any.
    """
    pairs = _pairs(reference, prediction, dicom)
    label_set = labels or _suggested_labels([pair[1] for pair in pairs], [pair[2] for pair in pairs])
    return [PathPair(*pair, label_set, or_indices=labels is None) for pair in pairs]


def _pairs(reference: Path, prediction: Path, dicom: Path | None) -> list[tuple[str, Mask, Mask]]:
    kinds = [_kind(path) for path in (reference, prediction)]
    if "png" in kinds and dicom is None:
        raise BadSpec("PNG masks carry no spacing. Name the DICOM series they were drawn on: --dicom SERIES.")
    if "png" not in kinds and dicom is not None:
        raise BadSpec("--dicom gives PNG masks their grid, but both sides are NIfTI, which has its own. Leave it out.")
    if kinds == ["nifti folder", "nifti folder"]:
        return _pairs_of_folders(reference, prediction)
    if "nifti folder" in kinds:
        raise BadData(
            f"a folder of NIfTI files needs another one as counterpart; came {reference} and {prediction}. "
            "Name two folders or two files."
        )
    series = read_headers(dicom) if dicom is not None else None
    reference_mask, prediction_mask = _mask(reference, series), _mask(prediction, series)
    return [(prediction_mask.name, reference_mask, prediction_mask)]


def _mask(path: Path, series: Series | None) -> Mask:
    return PngMasks(path, series) if path.is_dir() and series is not None else NiftiMask(path)


def _kind(path: Path) -> str:
    if path.is_dir():
        try:
            found = [kind for kind, files in (("nifti folder", nifti_files), ("png", png_files)) if files(path)]
        except OSError as error:
            raise BadData(f"the folder {path} cannot be read ({error.strerror}). Check its permissions.") from None
        if len(found) == 1:
            return found[0]
        what = "both NIfTI files and PNG masks" if found else "neither NIfTI files nor PNG masks"
        raise BadData(f"{path} holds {what} where one kind is wanted. Name a folder of one kind.")
    if not path.exists():
        raise BadData(f"there is no {path}. Check the name.")
    if not path.name.endswith(SUFFIXES):
        raise BadData(f"{path} is no NIfTI file (.nii, .nii.gz) and no folder. Name one of these.", file=path)
    return "nifti"


def _pairs_of_folders(reference: Path, prediction: Path) -> list[tuple[str, Mask, Mask]]:
    references, predictions = _by_name(reference), _by_name(prediction)
    if not references.keys() & predictions.keys():
        raise BadData(f"no file of {prediction} has the name of one in {reference}. Give counterparts equal names.")
    for here, there, where in ((references, predictions, prediction), (predictions, references, reference)):
        missing = sorted(here.keys() - there.keys())
        if missing:
            shown = ", ".join(missing[:FEW_NAMES]) + (
                f" and {len(missing) - FEW_NAMES} more" * (len(missing) > FEW_NAMES)
            )
            raise BadData(f"{where} lacks a counterpart of {shown}. Add it, or take the other one away.")
    return [(name, NiftiMask(references[name]), NiftiMask(predictions[name])) for name in sorted(references)]


def _by_name(folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in nifti_files(folder):
        if without_suffix(file) in named:
            raise BadData(
                f"{folder} holds both {named[without_suffix(file)].name} and {file.name}. Remove one.", file=file
            )
        named[without_suffix(file)] = file
    return named


def _suggested_labels(references: list[Mask], predictions: list[Mask]) -> LabelSet:
    sides = [set().union(*(mask.values() for mask in masks)) - {0} for masks in (references, predictions)]
    greys = {organ.source_value for organ in CHAOS_MR.organs}
    indices = {organ.index for organ in CHAOS_MR.organs}
    if any(side and side <= greys for side in sides) and all(side <= greys or side <= indices for side in sides):
        return CHAOS_MR
    if sides in BINARY:
        return labels_of_values({WHITE})
    if all(sides) and not sides[0] & sides[1]:
        said = " and ".join(", ".join(map(str, sorted(side))) for side in sides)
        raise BadData(f"reference and prediction have no value in common ({said}). Map one to the other's values.")
    return labels_of_values(sides[0] | sides[1])
