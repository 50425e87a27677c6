"""Pixels of DICOM slices as intensities: decompressed, and rescaled as each slice says.

JPEG 2000, JPEG-LS, run-length and lossy 8-bit JPEG need nothing further; JPEG Lossless needs the extra `gdcm`.

Source: DICOM PS3.3, C.11.1 (Modality LUT) and C.7.6.16.2.9 (Pixel Value Transformation); PS3.5, 8.2 (compression).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID

from steelyard.errors import BadData
from steelyard.io.code_stream import check_code_streams
from steelyard.io.dicom_file import Header
from steelyard.io.dicom_header import (
    AGAIN,
    MANY_CHARACTERS,
    Groups,
    ImageName,
    described,
    frame_count,
    frame_groups,
    image_size,
    numbers,
    text,
    with_pixels,
)

TRANSFORMATION = "PixelValueTransformationSequence"


def intensities(file: Path, header: Header, frame_numbers: Sequence[int] | None = None) -> np.ndarray:
    """The slices of a file (slice, row, column), float32, each after its own RescaleSlope and RescaleIntercept.

    `frame_numbers` (from 1) chooses frames and their order; without it the file holds one slice.
    """
    whole = ImageName(file)
    data = with_pixels(file, header)
    if "PixelData" not in data:
        raise BadData(f"{file.name} holds no pixels. {AGAIN}", file=file)
    if "ModalityLUTSequence" in data:
        raise BadData(
            f"{file.name} maps its pixels through a table (ModalityLUTSequence), which is not read. Export the series "
            "with RescaleSlope and RescaleIntercept.",
            file=file,
        )
    frames = frame_count(data, whole)
    groups: Sequence[Groups | None] = frame_groups(data, whole) or (None,) * frames
    pixels = stored_pixels(data, file, frames)
    if frame_numbers is None:
        return _rescaled(pixels[0], data, whole, groups[0])[None]
    return np.stack([_rescaled(pixels[k - 1], data, ImageName(file, k), groups[k - 1]) for k in frame_numbers])


def _rescaled(pixels: np.ndarray, data: pydicom.Dataset, name: ImageName, groups: Groups | None) -> np.ndarray:
    scale = []
    for keyword, otherwise in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        place = described(data, groups, TRANSFORMATION, keyword, name)
        place = data if place is None else place
        scale.append(float(numbers(place, keyword, name, 1)[0]) if text(place, keyword, name) else otherwise)
    if scale == [1, 0]:
        return pixels.astype(np.float32)
    return (pixels * scale[0] + scale[1]).astype(np.float32)


def stored_pixels(data: pydicom.Dataset, file: Path, frames: int) -> np.ndarray:
    """Stored values (frame, row, column). `BadData` where the bytes are fewer, or other, than the header says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder = _decoder(data, file)
        size = image_size(data, ImageName(file))
        try:
            if decoder is None or decoder.is_native:
                _check_length(data, file, frames)
            else:
                check_code_streams(data, size, frames)
                data.pixel_array_options(decoding_plugin=_plugin(decoder))
            pixels: np.ndarray = data.pixel_array.reshape(frames, *size)
        except BadData:
            raise
        except Exception:  # decoders raise whatever they meet in damaged bytes
            remedy = AGAIN
            if decoder is not None and _gdcm_would_help(decoder):
                remedy = f"Install steelyard[gdcm], which has another decoder, or {AGAIN.lower()}"
            raise BadData(f"{file.name}: the pixels cannot be decoded. {remedy}", file=file) from None
    return pixels


def _decoder(data: pydicom.Dataset, file: Path) -> Decoder | None:
    """The decoder of the file's compression; None where the file names none. `BadData` when there is none."""
    syntax = UID(text(data.file_meta, "TransferSyntaxUID", ImageName(file)))
    if not syntax:
        return None
    name = syntax.name if syntax.is_transfer_syntax else repr(syntax[:MANY_CHARACTERS])
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise BadData(f"{file.name} is compressed as {name}, which is not read. Decompress it.", file=file) from None
    if not decoder.is_available:
        remedy = "Install steelyard[gdcm], or decompress" if _gdcm_would_help(decoder) else "Decompress"
        raise BadData(
            f"{file.name} is compressed as {name}, for which no decoder is installed. {remedy} the series.", file=file
        )
    return decoder


def _plugin(decoder: Decoder) -> str:
    """GDCM comes last: it ends the whole process over a damaged JPEG-LS image, where others raise an error."""
    return min(decoder.available_plugins, key=lambda name: name == "gdcm")


def _gdcm_would_help(decoder: Decoder) -> bool:
    return any(line.startswith("gdcm ") for line in decoder.missing_dependencies)


def _check_length(data: pydicom.Dataset, file: Path, frames: int) -> None:
    wanted = (frames * int(data.Rows) * int(data.Columns) * int(data.BitsAllocated) + 7) // 8
    if len(data.PixelData) not in (wanted, wanted + wanted % 2):  # an odd length is padded to an even one
        raise BadData(
            f"{file.name} is truncated or damaged: {len(data.PixelData)} of {wanted} bytes. {AGAIN}", file=file
        )
