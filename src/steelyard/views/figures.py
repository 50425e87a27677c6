"""Pictures, films and surfaces of a source's cases, written to files: what `steelyard figure` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image

from steelyard.errors import BadData, BadSpec, unknown_name
from steelyard.evaluate.label_sets import parse_labels
from steelyard.evaluate.mask_files import without_suffix
from steelyard.io.nifti import SUFFIXES
from steelyard.runstore import write_bytes, writing_to
from steelyard.views.film import FRAMES_PER_SECOND, check_film, write_film
from steelyard.views.mesh import organ_mesh, write_glb, write_stl
from steelyard.views.predicted_cases import cases_of_prediction, is_prediction
from steelyard.views.shown_cases import (
    PLACES,
    ShownCase,
    ShownCases,
    case_of_files,
    cases_of_run,
    label_map_of_file,
    organ_named,
)
from steelyard.views.slice_pairs import SlicePair, chosen_slices, slice_numbered, slice_pairs
from steelyard.views.slices import png
from steelyard.views.stacked_model import stacked_model
from steelyard.volume import LabelMap

MOST_ROWS = 12  # of a figure of slices, unless cases are named
MESHES = "organs.glb"
REFERENCE = "reference"


@dataclass(frozen=True)
class Source:
    """Where cases come from: a folder of Steelyard's, or an image with label maps of any tool.

    Attributes:
        place: a study's folder, a run's, one that `predict` wrote; or an image (NIfTI).
        scans: of a folder that `predict` wrote: what was predicted, for such folders hold no images.
        predictions: of a folder: the names of those to be shown, all when empty. Of an image: NIfTI files.
        reference: of an image: the expert's label map.
        labels: of an image: organs and their values, as `liver=63,spleen=252`.
    """

    place: Path
    predictions: tuple[str, ...] = ()
    reference: Path | None = None
    labels: str | None = None
    scans: Path | None = None

    @property
    def is_image(self) -> bool:
        return self.place.name.endswith(SUFFIXES)

    def read(self, *, on_images: bool = True) -> ShownCases:
        """The cases, with the asked predictions alone; their images may be black unless `on_images`.

        Raises:
            BadSpec: options that do not go with the place; a prediction of no such name.
            BadData: nothing to be shown lies there.
        """
        if not self.is_image:
            if self.reference is not None or self.labels is not None:
                raise BadSpec(
                    f"--reference and --labels go with an image, but {self.place} is a folder, which knows its own. "
                    "Leave them out."
                )
            return self._of_folder(on_images).with_predictions(self.predictions)
        if self.scans is not None:
            raise BadSpec("--scans goes with a folder that `predict` wrote. Leave it out.")
        files = _by_name([Path(file) for file in self.predictions])
        if not files and self.reference is None:
            raise BadSpec(f"{self.place} is an image. Name label maps of it: --prediction FILE, --reference FILE.")
        labels = None if self.labels is None else parse_labels(self.labels)
        case = case_of_files(self.place, files, reference=self.reference, labels=labels)
        return ShownCases.of([case], str(self.place))

    def _of_folder(self, on_images: bool) -> ShownCases:
        if not self.place.is_dir():
            raise BadData(
                f"there is no folder {self.place}. Name a study's, a run's, or one that `predict` wrote; or an image."
            )
        if is_prediction(self.place):
            if on_images and self.scans is None:
                raise BadSpec(f"{self.place} holds no images. Name what was predicted: --scans FOLDER.")
            return cases_of_prediction(self.place, self.scans)
        if self.scans is not None:
            raise BadSpec(f"{self.place} is no folder that `predict` wrote, and brings its images. Leave --scans out.")
        return cases_of_run(self.place)


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names; those of one name by the nearest folder in which all of these differ.

    `predict` names files after scans, so that `a/nifti/p7.nii.gz` and `b/nifti/p7.nii.gz` become `a` and `b`.
    """
    alike: dict[str, list[Path]] = {}
    for file in files:
        alike.setdefault(without_suffix(file), []).append(file)
    named: dict[str, Path] = {}
    for name, own in alike.items():
        names = [name]
        if len(own) > 1:
            levels = zip(*(file.absolute().parts[-2::-1] for file in own), strict=False)
            names = list(next((level for level in levels if len(set(level)) == len(own)), ()))
        named |= dict(zip(names, own, strict=False))
    if len(named) < len(files):
        raise BadSpec("two predictions have the same name, by which pictures know them. Rename one.")
    return named


@dataclass(frozen=True)
class Choice:
    """Which cases: by id, or by place in the order of a metric, of one organ or of the mean over organs."""

    case_ids: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    by: str = "dice"
    organ: str | None = None

    def of(self, cases: ShownCases, *, usual: Sequence[str] = PLACES) -> list[tuple[str, str]]:
        """Place (empty for a case that was named) and id of every chosen case, none twice.

        Without a choice: the places `usual` where scores are known, else all cases, if they are few.
        """
        named = [("", case_id) for case_id in self.case_ids]
        places = self.places
        if not named and not places:
            if len(cases) == 1 or cases.scores.is_empty():
                return [("", case_id) for case_id in cases.case_ids]
            places = tuple(usual)
        picked = [
            (place, cases.picked(place, prediction=cases.names[0], by=self.by, organ=self.organ)) for place in places
        ]
        chosen: dict[str, str] = {}
        for place, case_id in named + picked:
            chosen.setdefault(case_id, place)
        return [(place, case_id) for case_id, place in chosen.items()]

    def said(self, place: str, cases: ShownCases) -> str:
        """`worst dice`, with the organ and the prediction that it is of where that is not plain."""
        if not place:
            return ""
        of = [self.organ.replace("_", " ")] if self.organ else []
        of += [cases.names[0]] if len(cases.names) > 1 else []
        return f"{place} {self.by}" + (f" of {', '.join(of)}" if of else "")

    def one(self, cases: ShownCases) -> ShownCase:
        """The one case that is chosen; the median where scores are known and nothing was chosen."""
        chosen = self.of(cases, usual=["median"])
        if len(chosen) > 1:
            raise BadSpec(f"one case is wanted; there are {_few([case for _, case in chosen])}. Name it with --case.")
        return cases.read(chosen[0][1])


def write_slices(
    out: Path, source: Source, choice: Choice, *, numbers: Sequence[int] = (), per_case: int = 1
) -> list[str]:
    """Pairs of slices as PNG; returns the ids of the cases that it shows.

    Args:
        numbers: the slices, counted from 1, of every case; the ones that show most when empty.
        per_case: so many slices of every case, spread evenly over the organs.
    """
    _check_png(out)
    cases = source.read()
    chosen = choice.of(cases)
    if len(chosen) > MOST_ROWS and not choice.case_ids:
        raise BadSpec(f"{source.place} has {len(chosen)} cases, too many for one figure. Name some with --case.")
    pairs = []
    for place, case_id in chosen:
        case = cases.read(case_id)
        organ = organ_named(case.label_set, choice.organ) if choice.organ else None
        indices = [slice_numbered(case, number) for number in numbers] or chosen_slices(case, per_case, organ=organ)
        pairs += [SlicePair(case, index, choice.said(place, cases)) for index in indices]
    _write_png(out, slice_pairs(pairs))
    return [case_id for _, case_id in chosen]


def write_model(out: Path, source: Source, choice: Choice) -> str:
    """The stacked model of one case as PNG; returns the case's id."""
    _check_png(out)
    case = choice.one(source.read(on_images=False))
    _write_png(out, stacked_model(case, organ=organ_named(case.label_set, choice.organ) if choice.organ else None))
    return case.case_id


def write_case_film(out: Path, source: Source, choice: Choice, *, fps: float = FRAMES_PER_SECOND) -> str:
    """A film through one case as GIF or MP4; returns the case's id."""
    check_film(out)
    case = choice.one(source.read())
    write_film(out, case, frames_per_second=fps)
    return case.case_id


def write_meshes(
    out: Path, source: Source, choice: Choice, *, of: str | None = None, detail_mm: float | None = None
) -> list[Path]:
    """Surfaces of one label map in RAS mm; returns the files.

    Args:
        out: a `.glb` file for all organs in their colours, an `.stl` file for the one organ that `choice` names, or a
            folder for both: an STL per organ, and `organs.glb`.
        source: where an image is named without label maps, it is taken for the label map itself.
        of: `reference` or a prediction's name; the only or first prediction when left out.
        detail_mm: see `organ_mesh`.

    Raises:
        BadSpec: an `.stl` file without an organ; another ending; no such label map.
        BadData: the label map holds none of the organs.
    """
    if out.suffix.lower() == ".stl" and choice.organ is None:
        raise BadSpec("an STL file holds one surface. Name the organ with --organ, or write .glb, or a folder.")
    if out.suffix.lower() not in ("", ".stl", ".glb"):
        raise BadSpec(f"surfaces are written as .stl, as .glb or into a folder; came {out}. Change the ending.")
    label_map = _label_map(source, choice, of)
    organs = label_map.label_set.organs
    if choice.organ is not None:
        organs = (organ_named(label_map.label_set, choice.organ),)
    meshes = {organ.name: organ_mesh(label_map, organ, detail_mm=detail_mm) for organ in organs}
    found = {name: mesh for name, mesh in meshes.items() if mesh is not None}
    if not found:
        raise BadData(f"the label map holds no voxel of {', '.join(meshes)}, so there is no surface to write.")
    if out.suffix.lower() == ".stl":
        write_stl(out, next(iter(found.values())))
        return [out]
    if out.suffix.lower() == ".glb":
        write_glb(out, found)
        return [out]
    for name, mesh in found.items():
        write_stl(out / f"{name}.stl", mesh)
    write_glb(out / MESHES, found)
    return [*(out / f"{name}.stl" for name in found), out / MESHES]


def _label_map(source: Source, choice: Choice, of: str | None) -> LabelMap:
    if source.is_image and not source.predictions and source.reference is None:
        return label_map_of_file(source.place, None if source.labels is None else parse_labels(source.labels))
    case = choice.one(source.read(on_images=False))
    maps = dict(case.predictions) | ({} if case.reference is None else {REFERENCE: case.reference})
    name = of or next(iter(maps))
    if name not in maps:
        raise BadSpec(unknown_name(f"label map of {case.case_id}", name, maps))
    return maps[name]


def _check_png(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise BadSpec(f"pictures are written as .png; came {path}. Change the ending.")


def _write_png(path: Path, picture: Image) -> None:
    with writing_to(path):
        write_bytes(path, png(np.asarray(picture)))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_ROWS]) + (f" and {len(names) - MOST_ROWS} more" if len(names) > MOST_ROWS else "")
