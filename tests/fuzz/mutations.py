"""Ways to damage a file: any bytes of it, or one value in it so that the file stays well-formed and lies."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import polars as pl
import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID

Rng = random.Random
Change = Callable[[bytes, Rng], bytes]

ODD_INTEGERS = (
    0,
    1,
    -1,
    2,
    255,
    256,
    32767,
    -32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
ODD_NUMBERS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e39, 10**30, 0.1, -1.5)
ODD_TEXTS = (
    "", " ", "\n", "first\nsecond", "a\r\nb", "\u2028\u2029\x85", "\0", "nul\0inside", "\x1b[31mred\x1b[0m", "é",
    "漢字", "\U0001f9ea", "\ud800", "\u202eright to left", "../../up", "/dev/full", "%s%n", "{}", "{0}", "NaN", "inf",
    "1e999", "1\\2\\3\\4\\5\\6", "-", "~", "$HOME", "$NOT_SET_ANYWHERE", "x" * 100_000, "9" * 5000,
)  # fmt: skip
DEEP = 200_000  # levels of nesting
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110", "1.2.3", "",
)  # fmt: skip
REPRESENTATIONS = ("UN", "LO", "DS", "IS", "FD", "US", "SQ", "OB", "OW", "UI", "PN", "AT", "UT")


def damaged(name: str, content: bytes, rng: Rng) -> bytes:
    """The file's content with one to three changes that its kind invites, or that any file may suffer."""
    structured = next((change for end, change in BY_ENDING.items() if name.endswith(end)), any_bytes)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = structured if rng.random() < 0.6 else any_bytes
        try:
            content = change(content, rng)
        except (Exception, pl.exceptions.PanicException):  # an earlier change left nothing that can be parsed
            content = any_bytes(content, rng)
    return content


def any_bytes(content: bytes, rng: Rng) -> bytes:
    """Flipped bits, odd numbers, and pieces lost, repeated, swapped or replaced."""
    if not content:
        return rng.randbytes(rng.choice((1, 8, 400)))
    kind = rng.randrange(10)
    at = _place(content, rng)
    size = rng.choice((1, 2, 4, 16, 64, 512))
    if kind == 0:
        changed = bytearray(content)
        for _ in range(rng.choice((1, 2, 8, 64))):
            changed[_place(content, rng)] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 1:
        width, form = rng.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
        value = rng.choice(ODD_INTEGERS) % 2 ** (8 * width)
        return content[:at] + struct.pack(rng.choice("<>") + form, value) + content[at + width :]
    if kind == 2:
        return content[: rng.choice((0, 1, 100, at, at, len(content) - 1))]
    if kind == 3:
        return content[:at] + content[at + size :]
    if kind == 4:
        return content[:at] + content[at : at + size] * rng.choice((2, 3, 100)) + content[at + size :]
    if kind == 5:
        return content[:at] + rng.randbytes(size) + content[at + size * rng.randrange(2) :]
    if kind == 6:
        other = _place(content, rng)
        first, second = sorted((at, other))
        size = min(size, second - first)
        middle = content[first + size : second]
        return (
            content[:first] + content[second : second + size] + middle + content[first : first + size]
            + content[second + size :]
        )  # fmt: skip
    if kind == 7:
        return content[:at] + rng.choice((b"\0", b"\xff")) * size + content[at + size :]
    if kind == 8:
        token = rng.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")[:2000]
        return content[:at] + token + content[at:]
    return content + rng.choice((b"\0" * 512, content[:1000], rng.randbytes(64)))


def in_json(content: bytes, rng: Rng) -> bytes:
    """One value of a JSON document lost, of another kind, or out of range; or nesting without end."""
    if rng.random() < 0.02:
        return b"[" * DEEP if rng.random() < 0.5 else b'{"a":' * DEEP
    document = json.loads(content)
    places = list(_places(document))
    if not places or rng.random() < 0.03:
        return json.dumps(_odd_value(rng, document)).encode()
    holder, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(ODD_TEXTS)] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.extend(holder[key : key + 1] * rng.choice((1, 3, 1000)))
    elif kind == 3:
        other, other_key = rng.choice(places)
        holder[key], other[other_key] = other[other_key], holder[key]
        with_cycle = _has_cycle(document)
        if with_cycle:
            return b"{}"
    else:
        holder[key] = _odd_value(rng, holder[key])
    return json.dumps(document).encode()


def in_toml(content: bytes, rng: Rng) -> bytes:
    """One line of a TOML file lost, doubled, moved, or with another value."""
    if rng.random() < 0.02:
        return content + b"\nx = " + b"[" * DEEP
    lines = content.decode().split("\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif kind == 2 and " = " in lines[at]:
        key = lines[at].split(" = ")[0]
        lines[at] = f"{key} = {_toml_value(rng)}"
    elif kind == 3:
        lines[at] = re.sub(r'"[^"]*"', lambda _: _toml_text(rng.choice(ODD_TEXTS)), lines[at], count=1)
    elif kind == 4:
        lines[at] = re.sub(r"-?\d+(\.\d+)?", lambda _: _toml_value(rng), lines[at], count=1)
    else:
        lines.insert(at, f"{rng.choice(('name', 'loss', 'x', 'seed', 'organ'))} = {_toml_value(rng)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def in_dicom(content: bytes, rng: Rng) -> bytes:
    """One element of a data set lost, moved, doubled, of another kind or with another value; or a lying code stream."""
    if rng.random() < 0.15 and (changed := _in_code_stream(content, rng)) is not None:
        return changed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(io.BytesIO(content), force=True)
        if rng.random() < 0.1:
            data.file_meta.TransferSyntaxUID = UID(rng.choice(TRANSFER_SYNTAXES))
            out = io.BytesIO()
            pydicom.dcmwrite(out, data, implicit_vr=False, little_endian=True, enforce_file_format=False)
            return out.getvalue()
        holder = data
        sizes = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel")
        if rng.random() < 0.2:
            element = data[rng.choice([keyword for keyword in sizes if keyword in data])]
        else:
            elements = [(data, element) for element in data if element.keyword != "PixelData"]
            for _ in range(4):  # as deep as functional groups go
                holder, element = rng.choice(elements)
                if element.VR != "SQ" or not element.value or rng.random() < 0.1:
                    break
                inner = [(item, own) for item in element.value for own in item]
                elements = inner or elements
        _change_element(holder, element, data, rng)
        out = io.BytesIO()
        syntax = data.file_meta.TransferSyntaxUID
        data.save_as(out, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
        return out.getvalue()


def in_nifti(content: bytes, rng: Rng) -> bytes:
    """One field of the header out of range, beneath the compression where there is one."""
    is_zipped = content[:2] == b"\x1f\x8b"
    plain = bytearray(gzip.decompress(content) if is_zipped else content)
    if rng.random() < 0.2:
        plain = bytearray(any_bytes(bytes(plain), rng))
    else:
        kind = rng.randrange(6)
        if kind == 0:
            struct.pack_into("<h", plain, 40 + 2 * rng.randrange(8), _short(rng))
        elif kind == 1:
            for axis in (1, 2, 3):
                struct.pack_into("<h", plain, 40 + 2 * axis, rng.choice((32767, 1024, 2000, _short(rng))))
        elif kind == 2:
            struct.pack_into("<h", plain, rng.choice((70, 72, 252, 254)), rng.choice((_short(rng), 2, 4, 16, 64, 1536)))
        else:
            place = rng.choice((76, 80, 84, 88, 108, 112, 116, *range(256, 328, 4)))
            struct.pack_into("<f", plain, place, _float32(rng))
    return gzip.compress(bytes(plain), 1, mtime=0) if is_zipped else bytes(plain)


def in_png(content: bytes, rng: Rng) -> bytes:
    """One chunk changed, lost, doubled or lying about the image's size, with a right checksum."""
    chunks = _png_chunks(content)
    at = rng.randrange(len(chunks))
    kind = rng.randrange(5)
    if kind == 0:
        width, height = (rng.choice((0, 1, 4000, 30_000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
        chunks[0] = (b"IHDR", struct.pack(">II", width, height) + chunks[0][1][8:])
    elif kind == 1:
        header = bytearray(chunks[0][1])
        header[8 + rng.randrange(5)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        chunks[0] = (b"IHDR", bytes(header))
    elif kind == 2:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[at])
    elif kind == 3:
        del chunks[at]
    else:
        bomb = zlib.compress(b"\0" * 5_000_000)
        chunks.insert(at, (rng.choice((b"zTXt", b"iTXt", b"IDAT", b"iCCP")), b"x\0\0" + bomb))
    return content[:8] + b"".join(_png_chunk(kind, body) for kind, body in chunks)


def in_safetensors(content: bytes, rng: Rng) -> bytes:
    """A header of another length, or one of its fields out of range."""
    size = struct.unpack("<Q", content[:8])[0]
    if rng.random() < 0.25:
        return struct.pack("<Q", rng.choice(ODD_INTEGERS) % 2**64) + content[8:]
    header = in_json(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def in_parquet(content: bytes, rng: Rng) -> bytes:
    """A table with a column lost, renamed, of another kind or with odd values; no rows, or each one twice."""
    frame = pl.read_parquet(io.BytesIO(content))
    name = rng.choice(frame.columns)
    kind = rng.randrange(8)
    if kind == 0:
        frame = frame.drop(name)
    elif kind == 1:
        frame = frame.rename({name: rng.choice(ODD_TEXTS[1:4])})
    elif kind == 2:
        frame = frame.with_columns(pl.lit(rng.choice(ODD_TEXTS)[:50].replace("\ud800", "?")).alias(name))
    elif kind == 3:
        frame = frame.with_columns(pl.lit(rng.choice((*ODD_NUMBERS[:8], -1, 2**40))).alias(name))
    elif kind == 4:
        frame = frame.with_columns(pl.lit(None, dtype=frame.schema[name]).alias(name))
    elif kind == 5:
        frame = frame.head(0)
    elif kind == 6:
        frame = pl.concat([frame, frame.sample(fraction=0.5, seed=rng.randrange(1000))])
    else:
        frame = frame.with_columns(pl.lit([1, 2]).alias(name))
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


BY_ENDING: dict[str, Change] = {
    ".json": in_json,
    ".toml": in_toml,
    ".dcm": in_dicom,
    ".nii": in_nifti,
    ".nii.gz": in_nifti,
    ".png": in_png,
    ".safetensors": in_safetensors,
    ".parquet": in_parquet,
}


def _place(content: bytes, rng: Rng) -> int:
    """A position, as often as not among the first bytes, where headers are."""
    reach = min(len(content), 512) if rng.random() < 0.5 else len(content)
    return rng.randrange(reach)


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    found = [(node, key) for key in keys]
    for key in keys:
        found += _places(node[key])
    return found


def _has_cycle(document: Any) -> bool:
    try:
        json.dumps(document)
    except (ValueError, RecursionError):
        return True
    return False


def _odd_value(rng: Rng, old: Any) -> Any:
    return rng.choice(
        (
            None, True, False, [], {}, [old], {"a": old}, str(old), rng.choice(ODD_INTEGERS), rng.choice(ODD_NUMBERS),
            rng.choice(ODD_TEXTS), rng.choice(ODD_TEXTS),
        )
    )  # fmt: skip


def _toml_value(rng: Rng) -> str:
    return rng.choice(
        (
            "nan", "inf", "-inf", "1e999", "-1", "0", "9" * 5000, str(rng.choice(ODD_INTEGERS)), "true", "[]", "{}",
            "1979-05-27", "''", _toml_text(rng.choice(ODD_TEXTS)), f"[{_toml_text(rng.choice(ODD_TEXTS))}]",
            "{ name = 'tversky', fp_weight = nan }", "{ name = 'per_organ', organs = [] }",
        )
    )  # fmt: skip


def _toml_text(text: str) -> str:
    return json.dumps(text)


def _in_code_stream(content: bytes, rng: Rng) -> bytes | None:
    """Another width and height in the header of a JPEG 2000, JPEG-LS or JPEG image."""
    wide, high = (rng.choice((0, 1, 3, 60_000, 65_535)) for _ in range(2))
    if (at := content.find(b"\xff\x4f\xff\x51")) >= 0:
        return content[: at + 8] + struct.pack(">II", wide * 100, high * 100) + content[at + 16 :]
    for marker in (b"\xff\xf7", b"\xff\xc3", b"\xff\xc0", b"\xff\xc1"):
        if (at := content.find(b"\xff\xd8" + b"\xff")) >= 0 and (at := content.find(marker, at)) >= 0:
            return content[: at + 5] + struct.pack(">HH", high, wide) + content[at + 9 :]
    return None


def _change_element(holder: pydicom.Dataset, element: DataElement, data: pydicom.Dataset, rng: Rng) -> None:
    kind = rng.randrange(5)
    tag = element.tag
    if kind == 0:
        del holder[tag]
    elif kind == 1:
        donor = rng.choice([other for other in data if other.keyword != "PixelData"])
        holder[tag] = DataElement(tag, donor.VR, donor.value)
    elif kind == 2:
        _set_raw(holder, tag, rng.choice(REPRESENTATIONS), rng.randbytes(rng.choice((0, 1, 2, 4, 8, 64))))
    elif element.VR in ("US", "UL", "SS", "FD", "FL"):
        form = {"US": "<H", "SS": "<H", "UL": "<I", "FD": "<d", "FL": "<f"}[element.VR]
        integer = rng.choice(ODD_INTEGERS) % 2 ** (8 * struct.calcsize(form))
        value = integer if form in ("<H", "<I") else _float32(rng)
        _set_raw(holder, tag, element.VR, struct.pack(form, value))
    else:
        words = str(rng.choice((*ODD_TEXTS, *map(str, ODD_INTEGERS), *map(str, ODD_NUMBERS))))[:9000]
        if isinstance(element.value, MultiValue) and element.value and rng.random() < 0.6:
            parts = [str(part) for part in element.value]
            parts[rng.randrange(len(parts))] = words.split("\\")[0]
            words = "\\".join(parts)
        vr = element.VR if element.VR != "SQ" else "UN"
        _set_raw(holder, tag, vr, words.encode("utf-8", "surrogatepass"))


def _set_raw(holder: pydicom.Dataset, tag: BaseTag, vr: str, value: bytes) -> None:
    """The bytes as they are, whatever that kind of element should hold."""
    value += b"\0" * (len(value) % 2)
    holder[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _short(rng: Rng) -> int:
    return rng.choice([value for value in ODD_INTEGERS if -32768 <= value <= 32767])


def _float32(rng: Rng) -> float:
    return rng.choice((0.0, -1.0, math.nan, math.inf, -math.inf, 1e38, 1e-38, 352.0, 3.7, 1e9, -1e9))


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
