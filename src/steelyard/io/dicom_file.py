"""DICOM files as pydicom parses them, in memory that fits the file: lengths that it merely claims take none."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from steelyard.errors import BadData

PREAMBLE, PREFIX = 128, b"DICM"
META_GROUP, TRANSFER_SYNTAX = 0x0002, 0x0010
LONG_LENGTHS = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")  # kinds of value whose length takes four bytes
FEW_BYTES = 1 << 16  # a claim of fewer is granted unseen
MOST_INFLATED = 1 << 28  # bytes of a deflated file: a thousand times its own size may hide in it
CHUNK = 1 << 20


def parse(file: Path, *, stop_before_pixels: bool = False, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a file, `tags` alone when given.

    Raises:
        BadData: a deflated file that holds more than `MOST_INFLATED`.
        Whatever pydicom raises: `InvalidDicomError`, `OSError`, and anything in damaged bytes.
    """
    with _File(file) as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_deflated(content, file)
        return pydicom.dcmread(content, stop_before_pixels=stop_before_pixels, specific_tags=tags)


class _File(io.BufferedReader):
    """Asked for more than is left, it gives what is left, and asks the system for no more memory than that."""

    def __init__(self, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < FEW_BYTES:
            return super().read(size)
        return super().read(min(size, max(self._size - self.tell(), 0)))


def _check_deflated(content: _File, file: Path) -> None:
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


def _stands_behind_meta(content: _File, syntax: str) -> bool:
    """Whether the file is of that transfer syntax; leaves it behind the meta group, where the data set starts."""
    content.seek(PREAMBLE)
    if content.read(len(PREFIX)) != PREFIX:
        return False
    found: Any = b""
    while len(head := content.peek(8)[:8]) == 8:
        group, element, kind, length = struct.unpack("<HH2sH", head)
        if group != META_GROUP:
            break
        content.read(8)
        if kind in LONG_LENGTHS:
            long = content.read(4)
            length = struct.unpack("<I", long)[0] if len(long) == 4 else 0
        value = content.read(length)
        if element == TRANSFER_SYNTAX:
            found = value
    return found.rstrip(b"\0 ") == syntax.encode()
