"""DICOM files as pydicom parses them, in memory that fits the file: lengths that it merely claims take none."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from steelyard.errors import BadData

PREAMBLE, PREFIX = 128, b"DICM"
META_GROUP, TRANSFER_SYNTAX = 0x0002, 0x0010
LONG_LENGTHS = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")  # kinds of value whose length takes four bytes
FEW_BYTES = 1 << 16  # a claim of fewer is granted unseen
MOST_INFLATED = 1 << 28  # bytes of a deflated file: a thousand times its own size may hide in it
CHUNK = 1 << 20
SMALL = 1 << 20  # bytes of a file


def parse(file: Path, *, stop_before_pixels: bool = False, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a file, `tags` alone when given.

    Raises:
        BadData: a deflated file that holds more than `MOST_INFLATED`.
        Whatever pydicom raises: `InvalidDicomError`, `OSError`, and anything in damaged bytes.
    """
    with _opened(file) as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_deflated(content, file)
        return pydicom.dcmread(content, stop_before_pixels=stop_before_pixels, specific_tags=tags)


@dataclass(frozen=True, eq=False)
class Header:
    """A file's data set up to its pixels, and where they begin: parsing is slow, and nothing is parsed twice.

    `pixels_at` is in bytes from the file's beginning; None in a deflated file, where they have no place.
    """

    data: pydicom.FileDataset
    pixels_at: int | None
    changed: tuple[int, int]


def parse_header(file: Path) -> Header:
    """As `parse`, up to the pixels."""
    with _opened(file) as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_deflated(content, file)
        data = pydicom.dcmread(content, stop_before_pixels=True)
        is_deflated = data.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        return Header(data, None if is_deflated else content.tell(), _changed(file))


def parse_rest(file: Path, header: Header) -> pydicom.Dataset:
    """The whole data set: the header's, with what the file holds from the pixels on."""
    with _opened(file) as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        implicit, little = header.data.original_encoding
        if header.pixels_at is None or implicit is None or little is None or _changed(file) != header.changed:
            return parse(file)
        content.seek(header.pixels_at)
        known, rest = header.data, read_dataset(content, implicit, little)
        elements = dict(known.items()) | dict(rest.items())  # as they lie in the file, not converted
        whole = pydicom.FileDataset(content, elements, known.preamble, known.file_meta, implicit, little)
        whole.set_original_encoding(implicit, little, known.original_character_set)
        return whole


def _changed(file: Path) -> tuple[int, int]:
    """Size and time of the last change."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _opened(file: Path) -> io.BytesIO | _File:
    """A small file whole: the parser reads a few bytes at a time, which is three times as fast from memory."""
    return io.BytesIO(file.read_bytes()) if file.stat().st_size <= SMALL else _File(file)


class _File(io.BufferedReader):
    """Asked for more than is left, it gives what is left, and asks the system for no more memory than that."""

    def __init__(self, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < FEW_BYTES:
            return super().read(size)
        return super().read(min(size, max(self._size - self.tell(), 0)))


def _check_deflated(content: io.BytesIO | _File, file: Path) -> None:
    """Counts what a deflated data set holds, before anything keeps it; leaves the file at its beginning."""
    try:
        if not _stands_behind_meta(content, str(DeflatedExplicitVRLittleEndian)):
            return
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        held = 0
        piece = content.read(CHUNK)
        while piece:
            held += len(inflate.decompress(piece, CHUNK))
            if held > MOST_INFLATED:
                raise BadData(
                    f"{file.name} is deflated and holds more than {MOST_INFLATED >> 20} MB. Decompress the series.",
                    file=file,
                )
            piece = inflate.unconsumed_tail or content.read(CHUNK)
    except zlib.error:  # the parser meets it again, and says so
        return
    finally:
        content.seek(0)


def _stands_behind_meta(content: io.BytesIO | _File, syntax: str) -> bool:
    """Whether the file is of that transfer syntax; leaves it behind the meta group, where the data set starts."""
    content.seek(PREAMBLE)
    if content.read(len(PREFIX)) != PREFIX:
        return False
    found: Any = b""
    while len(head := content.read(8)) == 8:
        group, element, kind, length = struct.unpack("<HH2sH", head)
        if group != META_GROUP:
            content.seek(-8, os.SEEK_CUR)
            break
        if kind in LONG_LENGTHS:
            long = content.read(4)
            length = struct.unpack("<I", long)[0] if len(long) == 4 else 0
        value = content.read(length)
        if element == TRANSFER_SYNTAX:
            found = value
    return found.rstrip(b"\0 ") == syntax.encode()
