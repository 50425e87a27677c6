"""Ways in which a CHAOS folder gets damaged; each is done to patient 13 and has to end in one line of bad data.

`damage(patient)` gets the patient's folder; `culprit` is what the message has to name (a file where one is at fault).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import JPEGLSLossless

IN, OUT, T1_GROUND = "T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground"
T2, T2_GROUND = "T2SPIR/DICOM_anon", "T2SPIR/Ground"
IMAGE, MASK = "IMG-0002-00003.dcm", "IMG-0002-00003.png"
IN_IMAGE, OUT_IMAGE = "IMG-0004-00006.dcm", "IMG-0004-00005.dcm"


@dataclass(frozen=True)
class Damage:
    """One way to break a patient: what to do, what the line must name, and which sequence shows it."""

    name: str
    sequence: str
    culprit: str
    damage: Callable[[Path], object]


def tag(folder: str, file: str, **values: Any) -> Callable[[Path], None]:
    """Changes tags of one file; a value of `...` deletes the tag, bytes are written as they are."""

    def damage(patient: Path) -> None:
        header = pydicom.dcmread(patient / folder / file)
        for keyword, value in values.items():
            if value is ...:
                delattr(header, keyword)
            elif isinstance(value, bytes):
                element = header[keyword]
                header[keyword] = pydicom.dataelem.RawDataElement(
                    element.tag, element.VR, len(value), value, 0, False, True
                )
            else:
                setattr(header, keyword, value)
        header.save_as(patient / folder / file)

    return damage


def remove(*paths: str) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        for path in paths:
            shutil.rmtree(patient / path) if (patient / path).is_dir() else (patient / path).unlink()

    return damage


def truncate(path: str, share: float) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        whole = (patient / path).read_bytes()
        (patient / path).write_bytes(whole[: int(len(whole) * share)])

    return damage


def write(path: str, content: bytes) -> Callable[[Path], None]:
    return lambda patient: (patient / path).write_bytes(content)


def mask(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        Image.fromarray(change(np.array(Image.open(patient / path)))).save(patient / path)

    return damage


def copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda patient: shutil.copy(patient / source, patient / target)


def swap_phases(patient: Path) -> None:
    (patient / IN).rename(patient / "aside")
    (patient / OUT).rename(patient / IN)
    (patient / "aside").rename(patient / OUT)


def swap_nameless_phases(patient: Path) -> None:
    for file in [*(patient / IN).iterdir(), *(patient / OUT).iterdir()]:
        header = pydicom.dcmread(file)
        del header.ProtocolName
        header.save_as(file)
    swap_phases(patient)


def resize_image(patient: Path) -> None:
    header = pydicom.dcmread(patient / T2 / IMAGE)
    header.Rows, header.PixelData = 22, header.PixelData[: 22 * 20 * 2]
    header.save_as(patient / T2 / IMAGE)


def resize_all_masks(patient: Path) -> None:
    for file in (patient / T2_GROUND).iterdir():
        Image.fromarray(np.array(Image.open(file))[:22]).save(file)


def folder_instead(path: str) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        (patient / path).unlink()
        (patient / path).mkdir()

    return damage


def dangling_link(path: str) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        (patient / path).unlink()
        (patient / path).symlink_to("nowhere")

    return damage


def empty(path: str) -> Callable[[Path], None]:
    def damage(patient: Path) -> None:
        shutil.rmtree(patient / path)
        (patient / path).mkdir()

    return damage


def leave_one_slice(patient: Path) -> None:
    for file in [*(patient / T2).iterdir(), *(patient / T2_GROUND).iterdir()]:
        if file.stem != "IMG-0002-00003":
            file.unlink()


def undecodable(patient: Path) -> None:
    header = pydicom.dcmread(patient / T2 / IMAGE)
    header.PixelData = pydicom.encaps.encapsulate([b"noise that no decoder knows"])
    header["PixelData"].VR = "OB"
    header.file_meta.TransferSyntaxUID = JPEGLSLossless
    header.save_as(patient / T2 / IMAGE)


def shear(patient: Path) -> None:
    for k, file in enumerate(sorted((patient / T2).iterdir())):
        header = pydicom.dcmread(file)
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y + 1.0 * k, z]
        header.save_as(file)


DAMAGES = (
    Damage(
        "missing inner slice and its mask",
        "t2_spir",
        "IMG-0002-00002.dcm to IMG-0002-00004.dcm",
        remove(f"{T2}/{IMAGE}", f"{T2_GROUND}/{MASK}"),
    ),
    Damage("missing inner slice", "t2_spir", "IMG-0002-00002.dcm", remove(f"{T2}/{IMAGE}")),
    Damage("missing end slice", "t2_spir", "IMG-0002-00005.png", remove(f"{T2}/IMG-0002-00005.dcm")),
    Damage("missing end slice of the out-phase", "t1_out", "5 images but 6 masks", remove(f"{OUT}/IMG-0004-00011.dcm")),
    Damage("missing mask", "t2_spir", "IMG-0002-00003", remove(f"{T2_GROUND}/{MASK}")),
    Damage("missing masks of T1", "t1_out", "IMG-0004-00002", remove(f"{T1_GROUND}/IMG-0004-00002.png")),
    Damage(
        "extra mask", "t2_spir", "IMG-0002-00099.png", copy(f"{T2_GROUND}/{MASK}", f"{T2_GROUND}/IMG-0002-00099.png")
    ),
    Damage("extra image", "t2_spir", "IMG-0002-00099.dcm", copy(f"{T2}/{IMAGE}", f"{T2}/IMG-0002-00099.dcm")),
    Damage("DICOM cut in the header", "t2_spir", IMAGE, truncate(f"{T2}/{IMAGE}", 0.2)),
    Damage("DICOM cut in the pixels", "t2_spir", IMAGE, truncate(f"{T2}/{IMAGE}", 0.8)),
    Damage("DICOM cut by one byte", "t2_spir", IMAGE, truncate(f"{T2}/{IMAGE}", 0.9995)),
    Damage("PNG cut", "t2_spir", MASK, truncate(f"{T2_GROUND}/{MASK}", 0.7)),
    Damage("zero-byte DICOM", "t2_spir", IMAGE, write(f"{T2}/{IMAGE}", b"")),
    Damage("zero-byte PNG", "t2_spir", MASK, write(f"{T2_GROUND}/{MASK}", b"")),
    Damage("not DICOM", "t2_spir", IMAGE, write(f"{T2}/{IMAGE}", bytes(range(256)) * 8)),
    Damage(
        "DICOM preamble and then noise",
        "t2_spir",
        IMAGE,
        write(f"{T2}/{IMAGE}", b"\0" * 128 + b"DICM" + b"\x9f\x13" * 99),
    ),
    Damage("text file among the images", "t2_spir", "notes.txt", write(f"{T2}/notes.txt", b"liver looks odd")),
    Damage("text file among the masks", "t2_spir", "notes.txt", write(f"{T2_GROUND}/notes.txt", b"liver looks odd")),
    Damage(
        "unknown grey value",
        "t2_spir",
        MASK,
        mask(f"{T2_GROUND}/{MASK}", lambda m: np.where(m == 63, 64, m).astype(np.uint8)),
    ),
    Damage("mask of another size", "t2_spir", MASK, mask(f"{T2_GROUND}/{MASK}", lambda m: m[:22])),
    Damage("all masks of another size", "t2_spir", "22 × 20", resize_all_masks),
    Damage("transposed mask", "t2_spir", MASK, mask(f"{T2_GROUND}/{MASK}", lambda m: m.T.copy())),
    Damage("RGB mask", "t2_spir", MASK, mask(f"{T2_GROUND}/{MASK}", lambda m: np.stack([m] * 3, axis=-1))),
    Damage("16-bit mask", "t2_spir", MASK, mask(f"{T2_GROUND}/{MASK}", lambda m: m.astype(np.uint16) * 257)),
    Damage("image of another size", "t2_spir", IMAGE, resize_image),
    Damage("swapped phases", "t1_in", "T1DUAL_OutPhase", swap_phases),
    Damage("swapped phases without protocol names", "t1_in", "2.302", swap_nameless_phases),
    Damage("one image of the other echo", "t1_in", IN_IMAGE, copy(f"{OUT}/{OUT_IMAGE}", f"{IN}/{IN_IMAGE}")),
    Damage("out-phase folder missing", "t1_out", "OutPhase", remove(OUT)),
    Damage("one image with another echo time", "t1_in", IN_IMAGE, tag(IN, IN_IMAGE, EchoTime="2.302")),
    Damage("echo time missing", "t1_in", IN_IMAGE, tag(IN, IN_IMAGE, EchoTime=...)),
    Damage("duplicated slice", "t2_spir", "same place", copy(f"{T2}/IMG-0002-00004.dcm", f"{T2}/{IMAGE}")),
    Damage("uneven spacing", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=[-10, -20, -21.0])),
    Damage("slice moved sideways", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=[-7, -20, -22])),
    Damage("sheared stack", "t2_spir", "sheared by 14.0°", shear),
    Damage("mixed orientation", "t2_spir", IMAGE, tag(T2, IMAGE, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
    Damage("orientation of no length", "t2_spir", IMAGE, tag(T2, IMAGE, ImageOrientationPatient=[0, 0, 0, 0, 1, 0])),
    Damage("mixed pixel spacing", "t2_spir", IMAGE, tag(T2, IMAGE, PixelSpacing=[1.5, 1.3])),
    Damage("pixel spacing missing", "t2_spir", IMAGE, tag(T2, IMAGE, PixelSpacing=...)),
    Damage("pixel spacing zero", "t2_spir", IMAGE, tag(T2, IMAGE, PixelSpacing=[0, 0])),
    Damage("position missing", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=...)),
    Damage("position not a number", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=b"nan\\-20\\-22")),
    Damage("position garbage", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=b"left\\-20\\-22 ")),
    Damage("position with two numbers", "t2_spir", IMAGE, tag(T2, IMAGE, ImagePositionPatient=b"-10\\-20 ")),
    Damage("image of another patient", "t2_spir", IMAGE, tag(T2, IMAGE, PatientName="CHAOS^MR_SET_7")),
    Damage("image of another series", "t2_spir", IMAGE, tag(T2, IMAGE, SeriesNumber="502")),
    Damage("pixels too short", "t2_spir", IMAGE, tag(T2, IMAGE, PixelData=b"\1\2" * 100)),
    Damage("pixels too long", "t2_spir", IMAGE, tag(T2, IMAGE, PixelData=b"\1\2" * 1000)),
    Damage("no pixels", "t2_spir", IMAGE, tag(T2, IMAGE, PixelData=...)),
    Damage("pixels that cannot be decoded", "t2_spir", IMAGE, undecodable),
    Damage("multi-frame image", "t2_spir", IMAGE, tag(T2, IMAGE, NumberOfFrames="2")),
    Damage("in-phase folder missing", "t1_in", "InPhase", remove(IN)),
    Damage("in-phase folder missing, seen from the out-phase", "t1_out", "InPhase", remove(IN)),
    Damage("Ground missing", "t2_spir", "Ground", remove(T2_GROUND)),
    Damage("all of T2 missing", "t2_spir", "T2SPIR", remove("T2SPIR")),
    Damage("empty image folder", "t2_spir", "DICOM_anon", empty(T2)),
    Damage("empty mask folder", "t2_spir", "Ground", empty(T2_GROUND)),
    Damage("single slice", "t2_spir", "two slices", leave_one_slice),
    Damage("folder in place of an image", "t2_spir", IMAGE, folder_instead(f"{T2}/{IMAGE}")),
    Damage("folder in place of a mask", "t2_spir", MASK, folder_instead(f"{T2_GROUND}/{MASK}")),
    Damage("image a dangling link", "t2_spir", IMAGE, dangling_link(f"{T2}/{IMAGE}")),
    Damage("mask a dangling link", "t2_spir", MASK, dangling_link(f"{T2_GROUND}/{MASK}")),
)

HARMLESS = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "._IMG-0002-00003.dcm": b"\0\5\26\7",
    "desktop.ini": b"[.ShellClassInfo]",
}
