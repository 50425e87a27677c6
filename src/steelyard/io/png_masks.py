"""Expert masks as grey-scale PNG files, one per slice; each grey value stands for an organ.

A mask has no geometry: it lies on the grid of the slice that it belongs to, so the caller pairs masks with slices.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from steelyard.errors import DISK_FULL, BadData, disk_full
from steelyard.labels import UNKNOWN_CLASS, LabelSet
from steelyard.runstore import write_atomically
from steelyard.volume import LabelMap

MOST_PIXELS = 1 << 26  # of a slice, 8192 × 8192: a few bytes may claim more, and would take the memory
LARGEST_GREY = 255  # masks are 8-bit
FEW_VALUES = 5  # unknown grey values in a message: a JPEG-damaged mask holds dozens


def read_masks(files: Sequence[Path], label_set: LabelSet) -> np.ndarray:
    """Class indices (slice, row, column), uint8, in the order of `files`, from 8-bit or 1-bit grey-scale PNGs.

    With a label set of one organ the grey value 1 means that organ too: binary masks are written as 1 or as 255.
    `BadData` names the file that cannot be read, is not grey-scale, differs in size or holds an unknown grey value.
    """
    if not files:
        raise BadData("no mask files were given. Name at least one.")
    masks = [_read_mask(file, label_set) for file in files]
    usual = Counter(mask.shape for mask in masks).most_common(1)[0][0]
    for file, mask in zip(files, masks, strict=True):
        if mask.shape != usual:
            raise BadData(
                f"{file.name} has {_size(mask.shape)} pixels where the other masks have {_size(usual)}. "
                "Extract the archive again.",
                file=file,
            )
    return np.stack(masks)


def write_masks(folder: Path, names: Sequence[str], label_map: LabelMap) -> tuple[Path, ...]:
    """One PNG per slice with the organs' source values; `names` without suffix, in slice order. Returns the files."""
    if len(names) != label_map.labels.shape[0]:
        raise BadData(f"{label_map.labels.shape[0]} slices need as many names; came {len(names)}.")
    source = label_map.label_set.source_from_classes(label_map.labels)
    if source.dtype != np.uint8:
        raise BadData(f"8-bit masks hold grey values to {LARGEST_GREY}; the label set goes beyond. Write NIfTI.")
    try:
        return tuple(_write_mask(folder / f"{name}.png", mask) for name, mask in zip(names, source, strict=True))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error, folder) from None
        raise BadData(f"masks cannot be written to {folder} ({error.strerror}). Free or choose a folder.") from None


def read_png(file: Path) -> tuple[str, np.ndarray]:
    """The kind of a PNG (PIL's mode) and its pixels; whatever PIL raises for a file that is none.

    Raises:
        ValueError: it says that it has more than `MOST_PIXELS`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are refused here
        with Image.open(file, formats=("PNG",)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels")
            return image.mode, np.array(image)


def _read_mask(file: Path, label_set: LabelSet) -> np.ndarray:
    try:
        mode, pixels = read_png(file)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})" if error.strerror else "is not a whole PNG image"
        raise BadData(f"{file.name} {reason}. Extract the archive again.", file=file) from None
    except Exception:  # the decoder raises whatever it meets in damaged bytes
        raise BadData(f"{file.name} is not a whole PNG image. Extract the archive again.", file=file) from None
    if mode not in ("L", "1"):
        raise BadData(
            f"{file.name} is a PNG of kind {mode} where 8-bit grey-scale is wanted. Use the original mask.", file=file
        )
    source = pixels.astype(np.uint8)
    classes = label_set.classes_from_source(source)
    if len(label_set.organs) == 1:
        classes[source == 1] = 1
    unknown = np.unique(source[classes == UNKNOWN_CLASS])
    if unknown.size:
        shown = ", ".join(map(str, unknown[:FEW_VALUES])) + (", …" if unknown.size > FEW_VALUES else "")
        known = ", ".join(f"{organ.source_value} {organ.title}" for organ in label_set.organs)
        raise BadData(
            f"{file.name} holds grey value {shown} where 0 and {known} are known. Use the original mask.", file=file
        )
    return classes


def _write_mask(file: Path, mask: np.ndarray) -> Path:
    write_atomically(file, lambda temporary: Image.fromarray(mask).save(temporary, format="PNG"))
    return file


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
