"""From two paths to pairs of masks: which case belongs to which, and which structure to which organ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import BadData, BadSpec
from steelyard.evaluate.case import OF_STUDIES, CaseEvaluation, ConventionName, evaluate_case
from steelyard.evaluate.label_sets import LabelChoice
from steelyard.evaluate.mask_files import NiftiMask, PngMasks
from steelyard.evaluate.matching import Held, OrganTable, match
from steelyard.evaluate.named_masks import SegMask
from steelyard.evaluate.places import SINGLE, Mask, Place, find_place
from steelyard.evaluate.regrid import turned_onto
from steelyard.evaluate.structures import Structure
from steelyard.labels import LabelSet
from steelyard.volume import Geometry, LabelMap

if TYPE_CHECKING:
    from steelyard.io.dicom_series import Series

FEW_NAMES = 5  # missing counterparts in a message
IMAGE_SUFFIX = "_0000"  # of nnU-Net's images, which are no label maps


@dataclass(frozen=True)
class Found:
    """Cases on disk before anything is read: those with both masks, and those that one side lacks."""

    masks: tuple[tuple[str, Mask, Mask], ...]
    series: Series | None = None
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()


@dataclass(frozen=True)
class PathPair:
    """One case on disk: reference and prediction, not read yet, and the organs that both are read with."""

    case_id: str
    reference: Mask
    prediction: Mask
    table: OrganTable
    grid: Geometry | None = None

    def read(self) -> tuple[LabelMap, LabelMap]:
        """Reference and prediction. SEG files lie on the grid of the DICOM series, else of the other side's mask.

        A prediction with the reference's voxels in another order (turned or mirrored axes) is put in theirs.
        """
        if isinstance(self.reference, SegMask) and not isinstance(self.prediction, SegMask):
            prediction = self.prediction.read(self.table.prediction)
            return self.reference.read(self.table.reference, on=prediction.geometry), prediction
        reference = self.reference.read(self.table.reference, on=self.grid)
        prediction = self.prediction.read(self.table.prediction, on=reference.geometry)
        return reference, turned_onto(prediction, reference.geometry)


def evaluate_paths(
    reference: Path,
    prediction: Path,
    *,
    dicom: Path | None = None,
    conventions: Sequence[ConventionName] = OF_STUDIES,
    labels: LabelSet | LabelChoice | None = None,
) -> list[CaseEvaluation]:
    """Every case of `prediction` scored against its counterpart of equal name in `reference`.

    Arguments and errors are those of `find_pairs`. Files know no patient: `patient_id` is the case's name.
    """
    return [evaluate_pair(pair, conventions) for pair in find_pairs(reference, prediction, dicom=dicom, labels=labels)]


def evaluate_pair(pair: PathPair, conventions: Sequence[ConventionName] = OF_STUDIES) -> CaseEvaluation:
    """One case, read and scored."""
    return evaluate_case(*pair.read(), case_id=pair.case_id, patient_id=pair.case_id, conventions=conventions)


def find_pairs(
    reference: Path,
    prediction: Path,
    *,
    dicom: Path | None = None,
    labels: LabelSet | LabelChoice | None = None,
) -> list[PathPair]:
    """Every case of `prediction` with its counterpart of equal name in `reference`, sorted by name.

    Args:
        reference, prediction: two single cases, whose names may differ (the case is called after the prediction), or
            two folders with cases of equal names. `steelyard.evaluate.places` tells what may be in them.
        dicom: the DICOM series that PNG masks were drawn on, or whose grid SEG files are to be read on.
        labels: organs and what stands for them in the files. Without it names are compared where both sides have them.
            Else every value v found is an organ `label_v`; masks that hold no value but CHAOS's (63, 126, 189, 252) are
            read as its organs, with NIfTI files of class indices beside them allowed, and binary masks of 1 and of 255
            are one organ.

    Raises:
        BadData: a file that cannot be read, a case without counterpart, grids or values that do not fit.
        BadSpec: `dicom` missing for PNG masks, or given without use; labels that do not fit.
    """
    found = find_cases(reference, prediction, dicom=dicom)
    choice = LabelChoice.of(labels) if isinstance(labels, LabelSet) else labels
    held = {name: tuple(look(mask, values=choice is None) for mask in masks) for name, *masks in found.masks}
    return pairs_of(found, match_sides(found, choice, held))


def find_cases(reference: Path, prediction: Path, *, dicom: Path | None = None, allow_missing: bool = False) -> Found:
    """The cases of both paths, paired by name; `allow_missing` lists those without counterpart instead of refusing."""
    places = find_place(reference), find_place(prediction)
    kinds = {place.kind for place in places}
    if "png" in kinds and dicom is None:
        raise BadSpec("PNG masks carry no spacing. Name the DICOM series they were drawn on: --dicom SERIES.")
    if not kinds & {"png", "seg"} and dicom is not None:
        raise BadSpec(
            "--dicom gives PNG masks and single SEG files their grid, but both sides have their own. Leave it out."
        )
    series = _series(dicom) if dicom is not None else None
    singles = [place.kind in SINGLE for place in places]
    if all(singles):
        masks = [_only(place, series) for place in places]
        return Found(((masks[1].name, masks[0], masks[1]),), series)
    if any(singles):
        masks = [
            _only(place, series) if place.kind in SINGLE else _one_case(place, other)
            for place, other in (places, places[::-1])
        ]
        return Found(((masks[1].name, masks[0], masks[1]),), series)
    return _paired(*places, series, allow_missing=allow_missing)


def look(mask: Mask, *, values: bool) -> tuple[Structure, ...]:
    """What one mask holds, by names; where it has none, and `values` is asked for, the values of its voxels."""
    named = mask.named()
    if named or not values or not isinstance(mask, NiftiMask | PngMasks):
        return named
    return tuple(Structure(value) for value in sorted(mask.values() - {0}))


def match_sides(
    found: Found, choice: LabelChoice | None, held: Mapping[str, Sequence[Sequence[Structure]]]
) -> OrganTable:
    """What the two sides hold, matched. `held`: for each case that could be looked at, what its two masks hold."""
    sides: list[Held] = []
    for place, side in enumerate(("reference", "prediction")):
        masks = [case[1 + place] for case in found.masks]
        structures = [structure for both in held.values() for structure in both[place]]
        by_key = {
            structure.key: structure for structure in sorted(structures, key=lambda known: known.name is not None)
        }
        described = [mask.described for mask in masks if isinstance(mask, NiftiMask) and mask.described]
        refusal = next((names.refusal for names in described if names.refusal), None)
        by_value = all(isinstance(mask, NiftiMask | PngMasks) for mask in masks)
        in_order = sorted(by_key.values(), key=lambda known: known.key if isinstance(known.key, int) else 0)
        sides.append(Held(side, tuple(in_order), by_value, bool(described), refusal))
    return match(sides[0], sides[1], choice)


def pairs_of(found: Found, table: OrganTable) -> list[PathPair]:
    """The cases with what they are read with."""
    grid = None if found.series is None else found.series.geometry
    return [PathPair(name, reference, prediction, table, grid) for name, reference, prediction in found.masks]


def _series(folder: Path) -> Series:
    from steelyard.io.dicom_series import read_headers  # takes a while to import

    return read_headers(folder)


def _only(place: Place, series: Series | None) -> Mask:
    return next(iter(place.masks(series).values()))


def _one_case(place: Place, other: Place) -> Mask:
    """A folder that faces a single file: its organ files are one case, or it holds one case only."""
    if place.kind == "nifti folder":
        return place.as_one_case()
    masks = place.masks(None)
    if len(masks) != 1:
        raise BadData(f"{place.path} holds {len(masks)} cases, {other.path} is one. Name one case on each side.")
    return next(iter(masks.values()))


def _paired(reference: Place, prediction: Place, series: Series | None, *, allow_missing: bool) -> Found:
    references, predictions = reference.masks(series), prediction.masks(series)
    common = sorted(references.keys() & predictions.keys())
    if not common:
        hint = f"The first are called {min(predictions)} and {min(references)}; give counterparts equal names."
        if any(name.removesuffix(IMAGE_SUFFIX) in predictions for name in references if name.endswith(IMAGE_SUFFIX)):
            hint = f"Files that end in {IMAGE_SUFFIX} are nnU-Net's images; name the folder of labels."
        raise BadData(f"no file of {prediction.path} has the name of one in {reference.path}. {hint}")
    without = sorted(references.keys() - common), sorted(predictions.keys() - common)
    for missing, where in zip(without, (prediction, reference), strict=True):
        if missing and not allow_missing:
            shown = ", ".join(missing[:FEW_NAMES]) + (
                f" and {len(missing) - FEW_NAMES} more" * (len(missing) > FEW_NAMES)
            )
            raise BadData(
                f"{where.path} lacks a counterpart of {shown}. Add it, take the other one away, or score the rest with "
                "--allow-missing."
            )
    masks = tuple((name, references[name], predictions[name]) for name in common)
    return Found(masks, series, tuple(without[0]), tuple(without[1]))
