"""What a compressed image says of its own size, compared with the DICOM header before a decoder takes memory for it.

Source: ISO/IEC 15444-1, A.5.1 (JPEG 2000: SIZ); ITU-T T.81, B.2.2 (JPEG: start of frame), shared by T.87 (JPEG-LS).
"""

from __future__ import annotations

import struct

import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

MOST_DECODED = 1 << 30  # bytes: as much as a volume of 16-bit values may hold
RLE_RATIO = 64  # two bytes of run-length code stand for 128 at most
JPEG_2000, SIZ = b"\xff\x4f", b"\xff\x51"
JPEG = b"\xff\xd8"
FRAME_STARTS = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)
SCAN_START = 0xDA


def check_code_streams(data: pydicom.Dataset, size: tuple[int, int], frames: int) -> None:
    """Every frame must be an image of `size`, rows and columns, with one value per pixel.

    Raises:
        ValueError: one is not, or together they would take more than `MOST_DECODED`.
    """
    bytes_of_frame = size[0] * size[1] * ((int(data.BitsAllocated) + 7) // 8)
    if frames * bytes_of_frame > MOST_DECODED:
        raise ValueError("too large")
    if int(data.get("NumberOfFrames") or 1) != frames:
        raise ValueError("another number of frames")
    if data.file_meta.TransferSyntaxUID == RLELossless:
        if frames * bytes_of_frame > RLE_RATIO * len(data.PixelData):
            raise ValueError("too few bytes")
        return
    for stream in generate_frames(data.PixelData, number_of_frames=frames):
        if size_of(stream) != (*size, 1):
            raise ValueError("another size")


def size_of(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and values per pixel of a JPEG 2000, JPEG-LS or JPEG image.

    Raises:
        ValueError, struct.error: it is none of these, or ends before it says so.
    """
    start = stream.find(JPEG_2000 + SIZ)  # a box of JP2 may stand before it
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
        (components,) = struct.unpack_from(">H", stream, start + 40)
        return bottom - top, right - left, components
    if not stream.startswith(JPEG):
        raise ValueError("no image")
    at = len(JPEG)
    while True:
        mark, kind, length = struct.unpack_from(">BBH", stream, at)
        if mark != 0xFF or kind == SCAN_START:
            raise ValueError("no start of frame")
        if kind == 0xFF:  # markers may be filled up
            at += 1
            continue
        if kind in FRAME_STARTS:
            rows, columns, components = struct.unpack_from(">HHB", stream, at + 5)
            return rows, columns, components
        at += 2 + length
