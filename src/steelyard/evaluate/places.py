"""Which masks a path holds: files and folders of several tools, told apart by what is in them.

case.nii.gz                          one label map
folder/case.nii.gz, …                label maps, one per case (nnU-Net, MONAI, studies of Steelyard)
folder/*.png                         one case, a mask per slice of a DICOM series
folder/liver.nii.gz, spleen.nii.gz   one case, a mask per organ, where the other side is one case
folder/case/liver.nii.gz, …          the same per case (TotalSegmentator; its data set has case/segmentations/)
folder/case/reference.nii.gz         a label map (the cases of our own studies)
case.dcm, folder/case.dcm, …         DICOM SEG files; or folder/case/*.dcm, one in each folder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from steelyard.errors import BadData
from steelyard.evaluate.mask_files import NiftiMask, PngMasks, nifti_files, png_files, without_suffix
from steelyard.evaluate.named_masks import OrganFiles, SegMask
from steelyard.evaluate.value_names import value_names
from steelyard.io.nifti import SUFFIXES

if TYPE_CHECKING:
    from steelyard.io.dicom_series import Series

Mask = NiftiMask | PngMasks | OrganFiles | SegMask
Kind = Literal["nifti", "nifti folder", "png", "seg", "seg folder", "case folders"]
SINGLE: tuple[Kind, ...] = ("nifti", "png", "seg")
REFERENCE = "reference.nii.gz"
SEGMENTATIONS = "segmentations"  # where TotalSegmentator's data set keeps a case's organ files


@dataclass(frozen=True)
class Place:
    """A path that the user named, and what kind of masks it holds."""

    path: Path
    kind: Kind

    def masks(self, series: Series | None) -> dict[str, Mask]:
        """Case → masks. PNG masks need the series."""
        path = self.path
        if self.kind == "nifti":
            return {without_suffix(path): NiftiMask(path, value_names(path.parent))}
        if self.kind == "nifti folder":
            described = value_names(path)
            return {
                name: NiftiMask(file, described)
                for name, file in self._by_name([(without_suffix(file), file) for file in nifti_files(path)]).items()
            }
        if self.kind == "png" and series is not None:
            return {path.name: PngMasks(path, series)}
        if self.kind == "seg":
            return {path.stem: SegMask(path, path.stem)}
        if self.kind == "seg folder":
            named = self._by_name([(file.stem, file) for file in seg_files(path)])
            return {name: SegMask(file, name) for name, file in named.items()}
        found = {folder.name: case_in(folder) for folder in case_folders(path)}
        return {name: mask for name, mask in found.items() if mask is not None}

    def as_one_case(self) -> OrganFiles:
        """A folder of NIfTI files, each an organ of one case.

        Raises:
            BadData: files that hold more than one value, so that they are cases of their own.
        """
        for file in nifti_files(self.path):
            if NiftiMask(file).values() - {0} not in (set(), {1}, {255}):
                raise BadData(
                    f"a folder of NIfTI files needs another one as counterpart; {self.path} has none. "
                    "Name two folders or two files."
                )
        return OrganFiles(self.path, self.path.name)

    def _by_name(self, files: list[tuple[str, Path]]) -> dict[str, Path]:
        named: dict[str, Path] = {}
        for name, file in files:
            if name in named:
                raise BadData(f"{self.path} holds both {named[name].name} and {file.name}. Remove one.", file=file)
            named[name] = file
        return named


def find_place(path: Path) -> Place:
    """What kind of masks a path holds.

    Raises:
        BadData: nothing there, masks of two kinds in one folder, or none.
    """
    if path.is_dir():
        try:
            return Place(path, _kind_of_folder(path))
        except OSError as error:
            raise BadData(f"the folder {path} cannot be read ({error.strerror}). Check its permissions.") from None
    if not path.exists():
        raise BadData(f"there is no {path}. Check the name.")
    if path.name.endswith(SUFFIXES):
        return Place(path, "nifti")
    if is_dicom(path):
        return Place(path, "seg")
    raise BadData(
        f"{path} is no NIfTI file (.nii, .nii.gz), no DICOM SEG file and no folder. Name one of these.", file=path
    )


def _kind_of_folder(path: Path) -> Kind:
    looks: tuple[tuple[Kind, list[Path]], ...] = (
        ("nifti folder", nifti_files(path)),
        ("png", png_files(path)),
        ("seg folder", seg_files(path)),
    )
    found = [kind for kind, files in looks if files]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadData(f"{path} holds masks of several kinds where one kind is wanted. Name a folder of one kind.")
    if case_folders(path):
        return "case folders"
    raise BadData(
        f"{path} holds neither NIfTI files nor PNG masks nor DICOM SEG files, nor a folder of these for each case. "
        "Name a folder of one kind."
    )


def case_folders(path: Path) -> list[Path]:
    """Folders that hold the masks of one case each, sorted by name."""
    return sorted(
        inner for inner in path.iterdir() if inner.is_dir() and not inner.name.startswith(".") and case_in(inner)
    )


def case_in(folder: Path) -> Mask | None:
    """The masks of one case in a folder of its own: a study's reference, organ files, or a single SEG file."""
    if (folder / REFERENCE).is_file():
        return NiftiMask(folder / REFERENCE, value_names(folder))
    organs = folder / SEGMENTATIONS
    place = organs if organs.is_dir() and nifti_files(organs) else folder
    if nifti_files(place):
        return OrganFiles(place, folder.name)
    segs = seg_files(folder)
    if len(segs) > 1:
        raise BadData(f"{folder} holds {len(segs)} DICOM files where one SEG per case is wanted. Keep one.")
    return SegMask(segs[0], folder.name) if segs else None


def seg_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, sorted by name, litter of file managers aside."""
    return sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".") and is_dicom(f))


def is_dicom(file: Path) -> bool:
    """By its ending, or by the mark behind the preamble for files without one."""
    if file.suffix.lower() == ".dcm":
        return True
    if file.suffix:
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
