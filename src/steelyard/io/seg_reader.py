"""DICOM segmentations (SEG) of any tool as label maps: frames are put where they say that they lie.

A SEG is a heap of frames, each with its segment and position; many tools leave out the empty ones. The grid is rebuilt
from the positions that are there: a position missing between two others is an empty slice.

Source: DICOM PS3.3, C.8.20 (segmentation image) and C.7.6.16 (functional groups).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import SegmentationStorage
from skimage.color import lab2rgb

from steelyard.errors import BadData
from steelyard.io.dicom_decode import stored_pixels
from steelyard.io.dicom_file import parse
from steelyard.labels import CodedConcept, LabelSet, Organ
from steelyard.volume import GRID_TOLERANCE_MM, Geometry, LabelMap, check_voxel_count

PRIVATE_SCHEME = "99STEELYARD"
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"  # pydicom has no name for it yet
STEP_TOLERANCE = 1e-2  # of a step: DICOM decimal strings are rounded
ORIENTATION_TOLERANCE = 1e-3  # in direction cosines, 0.06°
MOST_STEPS_APART = 2.5  # of neighbouring frames, for the stated step to be believed before the gap between them
SAME_PLACE_MM = 1e-2  # frames closer than this lie in one slice
SIDEWAYS_TOLERANCE_MM = 0.1  # off the line through the stack: well under a pixel, well over rounding
MOST_SLICES = 20_000  # a grid with more is a damaged position, and must not take the memory
MOST_ORGANS = 254  # classes of a label map are 8-bit, and 255 stands for unknown
AGAIN = "Export it again."
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def read_seg(path: Path, *, on: Geometry | None = None) -> LabelMap:
    """The organs of a SEG file, BINARY or LABELMAP, on its own grid or on the grid `on`.

    The label set follows the segments in the order of their numbers: name from the segment's label, source value from
    its number, colour and coded concept where it has them. The own grid reaches from the first frame to the last. Where
    all frames of a slice are missing, the step between slices is the stated SpacingBetweenSlices if frames lie one or
    two such steps apart, else the smallest gap; all gaps must be multiples of it. A FRACTIONAL file is read if it holds
    nothing but 0 and 1.

    With `on`, frames are placed on that grid, whichever way it runs along the same axes; slices without a frame are
    empty. `BadData` if the frames do not lie on it.

    Raises `BadData` in one line for what is no such file, for overlapping segments (a label map holds one organ per
    voxel), and for frames that form no regular grid.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _label_map(parse(path), path, on)
    except BadData as error:
        raise BadData(f"{path}: {error}", file=path) from None
    except InvalidDicomError:
        raise BadData(f"{path} is not a DICOM file. Name a SEG object.", file=path) from None
    except FileNotFoundError:
        raise BadData(f"there is no file {path}. Check the name.", file=path) from None
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror or 'input error'}). {AGAIN}", file=path) from None
    except Exception:  # the parser raises whatever it meets in damaged bytes
        raise BadData(f"{path} is damaged, or lacks what a SEG object must have. {AGAIN}", file=path) from None


@dataclass(frozen=True, eq=False)
class _Frames:
    """`masks` (frame, row, column): true in the frame's segment, or segment numbers where `segments` is None."""

    masks: np.ndarray
    segments: tuple[int, ...] | None
    background: int  # the segment number of what is no organ
    positions: np.ndarray
    rows: np.ndarray  # the step from row to row, mm
    columns: np.ndarray
    stated_step_mm: float | None
    thickness_mm: float | None

    @property
    def normal(self) -> np.ndarray:
        crossed: np.ndarray = np.cross(self.columns, self.rows)
        return crossed / np.linalg.norm(crossed)


def _label_map(content: Dataset, path: Path, on: Geometry | None) -> LabelMap:
    if content.get("SOPClassUID") not in (SegmentationStorage, LABEL_MAP_STORAGE):
        raise BadData(f"a SEG object was wanted; came {_kind(content)}. Name a segmentation.")
    organs, class_of = _organs(content)
    frames = _frames(content, path)
    geometry, places = _grid(frames, on)
    labels = np.zeros(geometry.shape, np.uint8)
    for k, place in enumerate(places):
        target, found = labels[place], _classes(frames, k, class_of)
        shared = (target > 0) & (found > 0) & (target != found)
        if shared.any():
            names = [organs[int(labelled[shared][0]) - 1].title for labelled in (target, found)]
            raise BadData(
                f"the segments {names[0]!r} and {names[1]!r} overlap, where one organ per voxel is wanted. "
                "Export them to files of their own."
            )
        np.maximum(target, found, out=target)
    own = LabelMap(labels, geometry, LabelSet(tuple(organs)))
    return own if on is None else _moved(own, on)


def _classes(frames: _Frames, k: int, class_of: dict[int, int]) -> np.ndarray:
    """Class indices (row, column) of one frame."""
    if frames.segments is not None:
        if frames.segments[k] not in class_of:
            raise BadData(f"frame {k + 1} belongs to segment {frames.segments[k]}, which is not described. {AGAIN}")
        return np.where(frames.masks[k], np.uint8(class_of[frames.segments[k]]), np.uint8(0))
    classes = np.zeros(frames.masks[k].shape, np.uint8)
    for number in np.unique(frames.masks[k]).tolist():
        if number in class_of:
            classes[frames.masks[k] == number] = class_of[number]
        elif number not in (0, frames.background):
            raise BadData(f"frame {k + 1} holds segment {number}, which is not described. {AGAIN}")
    return classes


def _organs(content: Dataset) -> tuple[list[Organ], dict[int, int]]:
    """The organs, and the class index for each segment number; a described background (number 0) is left out."""
    described = sorted(content.SegmentSequence, key=lambda segment: int(segment.SegmentNumber))
    described = [segment for segment in described if int(segment.SegmentNumber) not in (0, _background(content))]
    if not 1 <= len(described) <= MOST_ORGANS:
        raise BadData(f"1 to {MOST_ORGANS} segments were wanted; came {len(described)}.")
    organs: list[Organ] = []
    names: set[str] = set()
    for index, segment in enumerate(described, 1):
        number = int(segment.SegmentNumber)
        slug = re.sub(r"\W+", "_", str(segment.get("SegmentLabel") or "").lower()).strip("_") or f"segment_{number}"
        name = slug if slug not in names else f"{slug}_{number}"
        names.add(name)
        organs.append(Organ(name, index, number, _colour(segment, index), _concept(segment)))
    return organs, {organ.source_value: organ.index for organ in organs}


def _colour(segment: Dataset, index: int) -> tuple[int, int, int]:
    stored = segment.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return COLOURS[(index - 1) % len(COLOURS)]
    lightness, green_red, blue_yellow = (float(part) / 65535 for part in stored)  # PS3.3, C.10.7.1.1
    lab = [[[lightness * 100, green_red * 255 - 128, blue_yellow * 255 - 128]]]
    red, green, blue = (round(float(part) * 255) for part in lab2rgb(lab)[0, 0])
    return red, green, blue


def _concept(segment: Dataset) -> CodedConcept | None:
    coded = segment.get("SegmentedPropertyTypeCodeSequence")
    if not coded:
        return None
    value = coded[0].get("CodeValue") or coded[0].get("LongCodeValue") or coded[0].get("URNCodeValue")
    scheme = str(coded[0].get("CodingSchemeDesignator") or "")
    if not value or scheme == PRIVATE_SCHEME:
        return None
    return CodedConcept(str(value), scheme, str(coded[0].get("CodeMeaning") or ""))


def _frames(content: Dataset, path: Path) -> _Frames:
    shared = content.SharedFunctionalGroupsSequence[0] if content.get("SharedFunctionalGroupsSequence") else Dataset()
    each = list(content.PerFrameFunctionalGroupsSequence)
    masks = _masks(content, path, len(each))
    cosines = np.array([_group(frame, shared, "PlaneOrientationSequence").ImageOrientationPatient for frame in each])
    if np.abs(cosines.astype(float) - cosines[0].astype(float)).max() > ORIENTATION_TOLERANCE:
        raise BadData("its frames are oriented unlike each other, where one grid is wanted.")
    measures = [_group(frame, shared, "PixelMeasuresSequence") for frame in each]
    spacings = np.array([measure.PixelSpacing for measure in measures], float)
    if np.abs(spacings / spacings[0] - 1).max() > ORIENTATION_TOLERANCE or spacings.min() <= 0:
        raise BadData("its frames have pixel spacings unlike each other, where one grid is wanted.")
    columns, rows = cosines[0].astype(float).reshape(2, 3)
    segments = None
    if not _is_label_map(content):
        segments = tuple(
            int(_group(frame, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber) for frame in each
        )
    return _Frames(
        masks=masks,
        segments=segments,
        background=_background(content),
        positions=np.array(
            [_group(frame, shared, "PlanePositionSequence").ImagePositionPatient for frame in each]
        ).astype(float),
        rows=rows / np.linalg.norm(rows) * spacings[0][0],  # PixelSpacing[0] lies between rows
        columns=columns / np.linalg.norm(columns) * spacings[0][1],
        stated_step_mm=_positive(measures[0].get("SpacingBetweenSlices")),
        thickness_mm=_positive(measures[0].get("SliceThickness")),
    )


def _masks(content: Dataset, path: Path, count: int) -> np.ndarray:
    """(frame, row, column): bool per segment, or segment numbers of a LABELMAP."""
    kind = str(content.get("SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise BadData(f"SegmentationType BINARY or LABELMAP was wanted; came {kind[:20]!r}.")
    stored = stored_pixels(content, path, count)
    if kind == "LABELMAP":
        return stored
    if kind == "FRACTIONAL" and not np.isin(stored, (0, int(content.MaximumFractionalValue))).all():
        raise BadData(
            "it is FRACTIONAL, with values between 0 and 1, where whole voxels are wanted. Threshold it first."
        )
    return stored > 0


def _grid(frames: _Frames, on: Geometry | None) -> tuple[Geometry, list[int]]:
    """The grid from the first position to the last, and the slice of every frame."""
    normal = frames.normal
    heights = frames.positions @ normal
    order = np.argsort(heights, kind="stable")
    levels = heights[order][np.concatenate([[True], np.diff(heights[order]) >= SAME_PLACE_MM])]
    step_mm = _step_mm(np.diff(levels), frames, on)
    count = round(float(levels[-1] - levels[0]) / step_mm) + 1
    if count > MOST_SLICES:
        raise BadData(
            f"its frames lie {levels[-1] - levels[0]:.4g} mm apart, {step_mm:.4g} mm from slice to slice. {AGAIN}"
        )
    check_voxel_count((count, *frames.masks.shape[1:]))
    places = [round(float(height - levels[0]) / step_mm) for height in heights]
    first, last = frames.positions[order[0]], frames.positions[order[-1]]
    step = (last - first) / (count - 1) if count > 1 else normal * step_mm
    off_line = np.linalg.norm(frames.positions - first - np.outer(places, step), axis=1)
    allowed = max(SIDEWAYS_TOLERANCE_MM, STEP_TOLERANCE * step_mm)
    if off_line.max() > allowed or np.linalg.norm(step - normal * (step @ normal)) > STEP_TOLERANCE * step_mm:
        raise BadData("its frames do not lie in even steps along the normal, where one grid is wanted.")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = step, frames.rows, frames.columns, first
    return Geometry((count, *frames.masks.shape[1:]), affine), places


def _step_mm(gaps: np.ndarray, frames: _Frames, on: Geometry | None) -> float:
    """The distance from slice to slice: the first candidate of which all gaps between frames are multiples.

    A stated step far less than the smallest gap comes last: some scanners state the room between slices instead.
    """
    candidates: list[float | None]
    if on is not None:
        along = np.abs((on.affine[:3, :3] / np.array(on.spacing_mm)).T @ frames.normal)
        candidates = [on.spacing_mm[int(along.argmax())]]
    elif not gaps.size:
        candidates = [frames.stated_step_mm, frames.thickness_mm]
    else:
        stated, smallest = frames.stated_step_mm, float(gaps.min())
        candidates = [smallest, stated]
        if stated is not None and smallest < MOST_STEPS_APART * stated:
            candidates.reverse()
    for step in candidates:
        if step is not None and (np.abs(gaps / step - np.round(gaps / step)) <= STEP_TOLERANCE * (gaps / step)).all():
            return step
    if on is not None:
        raise BadData("its frames do not lie on the slices of the other grid. Segment the same series.")
    if not gaps.size:
        raise BadData("it holds a single slice and says nothing of its thickness. Name the scan that it belongs to.")
    raise BadData(f"its slices are unevenly spaced, by {gaps.min():.4g} to {gaps.max():.4g} mm. {AGAIN}")


def _moved(own: LabelMap, on: Geometry) -> LabelMap:
    """The same voxels on another grid with the same axes, in whichever order and direction these run there."""
    moves = np.linalg.inv(on.affine) @ own.geometry.affine  # own index → index on the other grid
    turns, offset = np.round(moves[:3, :3]).astype(int), np.round(moves[:3, 3]).astype(int)
    snapped = np.eye(4)
    snapped[:3, :3], snapped[:3, 3] = turns, offset
    permutes = (np.abs(turns).sum(axis=0) == 1).all() and (np.abs(turns).sum(axis=1) == 1).all()
    if not permutes or not Geometry(own.geometry.shape, on.affine @ snapped).same_grid(own.geometry):
        raise BadData(
            f"its voxels do not lie on the other grid within {GRID_TOLERANCE_MM} mm. Segment the same series."
        )
    labels = np.zeros(on.shape, np.uint8)
    found = np.argwhere(own.labels)
    there = found @ turns.T + offset
    if ((there < 0) | (there >= np.array(on.shape))).any():
        raise BadData("some of its voxels lie outside the other grid. Segment the same series.")
    labels[tuple(there.T)] = own.labels[tuple(found.T)]
    return LabelMap(labels, on, own.label_set)


def _group(frame: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """A functional group, of the frame or shared by all."""
    found = frame.get(keyword) or shared.get(keyword)
    if not found:
        raise BadData(f"it has no {keyword}. {AGAIN}")
    item: Dataset = found[0]
    return item


def _is_label_map(content: Dataset) -> bool:
    return str(content.get("SegmentationType")) == "LABELMAP"


def _background(content: Dataset) -> int:
    return int(content.get("PixelPaddingValue", 0)) if _is_label_map(content) else 0


def _positive(value: object) -> float | None:
    number = None if value is None else float(str(value))
    return number if number is not None and np.isfinite(number) and number > 0 else None


def _kind(content: Dataset) -> str:
    return str(content.get("Modality") or "another kind")[:20]
