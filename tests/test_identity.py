"""Who the patients are stays in their DICOM files: it is in nothing that is printed or written, pseudonyms aside."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pydicom
import pytest

from steelyard.cli import main
from studies import tiny_study, write_patients, write_toml

NAME, NUMBER = "Zwetschgenknecht^Hildegardis", "MRN-90817263"
IDENTITY = {
    "PatientName": NAME,
    "PatientID": NUMBER,
    "PatientBirthDate": "19480229",
    "PatientAddress": "Eulenspiegelgasse 17",
    "PatientAge": "077Y",
    "OtherPatientNames": "Krautwurst^Adelheid",
    "OtherPatientIDs": "OTHER-556677",
    "PatientComments": "sister of a celebrity",
    "AccessionNumber": "ACC-33445566",
    "StudyID": "STUDY-7788",
    "StudyDate": "20190317",
    "StudyDescription": "abdomen of Zwetschgenknecht",
    "SeriesDescription": "axial, Hildegardis, MRN-90817263",
    "InstitutionName": "Klinikum Hinterzarten",
    "InstitutionAddress": "Waldweg 3",
    "ReferringPhysicianName": "Quacksalber^Ottokar",
    "OperatorsName": "Strahlemann^Egon",
    "StationName": "KELLER-MR-2",
    "DeviceSerialNumber": "SER-424242",
}
TELLING = (
    "Zwetschgenknecht", "Hildegardis", "MRN-90817263", "19480229", "1948-02-29", "Eulenspiegel", "077Y", "Krautwurst",
    "OTHER-556677", "celebrity", "ACC-33445566", "STUDY-7788", "20190317", "2019-03-17", "Hinterzarten", "Waldweg",
    "Quacksalber", "Strahlemann", "KELLER-MR", "SER-424242",
)  # fmt: skip
NEEDLES = {word: {word.lower().encode(), word.lower().encode("utf-16-le")} for word in TELLING}
BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
PNG = b"\x89PNG\r\n\x1a\n"


def identify(root: Path, **changes: Any) -> None:
    """Every DICOM file below says whose it is."""
    for file in root.rglob("*.dcm"):
        data = pydicom.dcmread(file)
        for keyword, value in (IDENTITY | changes).items():
            setattr(data, keyword, value)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
        data.save_as(file)


def layers(content: bytes, name: str = "") -> Iterator[bytes]:
    """The bytes, and those that are compressed, packed or encoded in them."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from layers(gzip.decompress(content))
    elif content[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for inner in archive.infolist():
                yield inner.filename.encode()
                yield from layers(archive.read(inner))
    elif content[:4] == b"PAR1":
        yield repr(pl.read_parquet(io.BytesIO(content)).to_dicts()).encode()
    elif content[:8] == PNG:
        yield from texts_of_png(content)
    elif name.endswith((".html", ".json", ".svg", "")):
        for found in BASE64.findall(content):
            try:
                yield from layers(base64.b64decode(found + b"=" * (-len(found) % 4)))
            except binascii.Error:
                continue


def texts_of_png(content: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + size]
        at += 12 + size
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            yield body
        elif kind == b"zTXt":
            yield zlib.decompress(body.split(b"\0", 1)[1][1:])


def told_in(content: bytes, name: str = "") -> list[str]:
    """Which of the telling words are in there, at whatever depth."""
    found = set()
    for layer in layers(content, name):
        low = layer.lower()
        found |= {word for word, spellings in NEEDLES.items() if any(spelling in low for spelling in spellings)}
    return sorted(found)


@pytest.mark.parametrize(
    "hidden",
    [
        b"x" + NAME.encode(),
        gzip.compress(NUMBER.encode()),
        b"<script>" + base64.b64encode(gzip.compress(b"... 19480229 ...")) + b"</script>",
        "Hinterzarten".encode("utf-16-le"),
    ],
    ids=["plain", "gzip", "base64 of gzip", "two bytes a letter"],  # gzip holds the time of day
)
def test_what_is_hidden_would_be_found(hidden: bytes):
    assert len(told_in(hidden)) >= 1


def test_what_is_hidden_in_tables_archives_and_pictures_would_be_found():
    table = io.BytesIO()
    pl.DataFrame({"reason": ["of Ottokar Quacksalber"] * 50}).write_parquet(table)
    assert told_in(table.getvalue()) == ["Quacksalber"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", "KELLER-MR-2" * 9)
    assert told_in(archive.getvalue()) == ["KELLER-MR"]
    body = b"Comment\0\0" + zlib.compress(b"Krautwurst")
    assert told_in(PNG + len(body).to_bytes(4, "big") + b"zTXt" + body + b"\0" * 4) == ["Krautwurst"]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study of patients who can be told, predictions, pages and pictures: their folder, and all that was said."""
    root = tmp_path_factory.mktemp("used")
    data = write_patients(root / "patients")
    identify(data)
    damaged = next(data.glob("Train_Sets/MR/4/T2SPIR/DICOM_anon/*.dcm"))
    content = pydicom.dcmread(damaged)
    content.PatientName, content.ImagePositionPatient = "Krautwurst^Adelheid", [1, 2, "77"]
    content.save_as(damaged)
    out = root / "out"
    tables: dict[str, Any] = {"train": {"epochs": 1, "validate_every": 1}, "grid": {"loss": ["iou11"]}}
    toml = write_toml(root / "study.toml", tiny_study(data, out / "runs", **tables))
    said = io.StringIO()

    def steelyard(*words: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["steelyard", *map(str, words)])
            patch.setattr(sys, "stdout", said)
            patch.setattr(sys, "stderr", said)
            patch.setenv("COLUMNS", "200")
            said.write(f"\n$ {words[0]}\n")
            try:
                main()
            except SystemExit as end:
                said.write(f"exit code {end.code}\n")

    steelyard("data", "check", data, "--json", out / "check.json")
    steelyard("run", toml)  # and its report
    study = out / "runs" / "tiny"
    run = next(study.glob("*/DONE")).parent
    scans = data / "Train_Sets" / "MR" / "1"
    steelyard("status", toml)
    steelyard("view", study)
    steelyard("figure", "slices", study, out / "slices.png", "--by", "iou")
    formats = ("--to", "nifti", "dicom-seg", "rtstruct", "png")
    steelyard("predict", run, scans, out / "named", *formats, "--series", "T1DUAL_InPhase")
    steelyard("predict", run, scans, out / "pseudonym", *formats, "--series", "T1DUAL_InPhase", "--pseudonym", "P-1")
    broken = root / "broken"
    shutil.copytree(scans / "T1DUAL" / "DICOM_anon" / "InPhase", broken)
    next(broken.iterdir()).write_bytes(next(broken.iterdir()).read_bytes()[:-40])
    steelyard("predict", run, broken, out / "broken")
    case = next((out / "named" / "nifti").glob("*.nii.gz")).name.removesuffix(".nii.gz")
    steelyard("figure", "slices", out / "named", out / "predicted.png", "--case", case, "--scans", scans)
    return out, said.getvalue()


def is_dicom(file: Path) -> bool:
    return file.read_bytes()[128:132] == b"DICM"


def test_the_commands_did_their_work(used: tuple[Path, str]):
    out, said = used
    written = {file.suffix for file in out.rglob("*") if file.is_file()}
    assert {".html", ".json", ".parquet", ".gz", ".png", ".dcm", ".csv", ".safetensors"} <= written, said
    assert said.count("exit code 3") == 2, said  # the damaged scan, found by `data check` and by `predict`
    assert said.count("exit code") == 2, said


def test_nothing_that_is_printed_tells_who_the_patients_are(used: tuple[Path, str]):
    assert told_in(used[1].encode()) == []


def test_nothing_that_is_written_tells_who_the_patients_are(used: tuple[Path, str]):
    out, _ = used
    files = [file for file in out.rglob("*") if file.is_file()]
    told = {str(f.relative_to(out)): told_in(f.read_bytes(), f.name) for f in files if not is_dicom(f)}
    assert {name: words for name, words in told.items() if words} == {}
    assert told_in("\n".join(str(file.relative_to(out)) for file in out.rglob("*")).encode()) == []


def test_dicom_objects_are_the_patients_own_unless_a_pseudonym_stands_for_them(used: tuple[Path, str]):
    out, _ = used
    named, hidden = (
        [f for f in (out / kind).rglob("*") if f.is_file() and is_dicom(f)] for kind in ("named", "pseudonym")
    )
    assert {pydicom.dcmread(file).Modality for file in named} == {"SEG", "RTSTRUCT"}
    assert len(named) == len(hidden)
    assert {str(pydicom.dcmread(file).PatientName) for file in named} == {NAME}
    for file in hidden:
        assert told_in(file.read_bytes()) == []
        assert str(pydicom.dcmread(file).PatientName) == "P-1"
