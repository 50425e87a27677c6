"""Zip archives that mean harm, or are damaged, and the folder that they must not leave."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from steelyard.datasets.safe_zip import ZipLimits, unpack
from steelyard.errors import BadData, Interrupted

LIMITS = ZipLimits(entries=6, unpacked_bytes=10_000)


def entry(name: str, *, kind: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16 if kind else 0
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def archive_of(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about names that come twice
        for info, content in entries:
            archive.writestr(info if isinstance(info, zipfile.ZipInfo) else entry(info), content)
    return path


def refused(archive: Path, folder: Path, said: str, *, limits: ZipLimits = LIMITS) -> None:
    """One line, and not one file."""
    target = folder / "inside" / "target"
    target.mkdir(parents=True)
    with pytest.raises(BadData, match=said) as caught:
        unpack(archive, target, limits)
    assert "\n" not in str(caught.value)
    assert list(target.iterdir()) == []
    assert list(folder.iterdir()) == [folder / "inside"]
    assert list((folder / "inside").iterdir()) == [target]


def test_files_and_folders_come_out_as_they_went_in(tmp_path: Path):
    archive = archive_of(
        tmp_path / "a.zip",
        ("Train/", b""),
        ("Train/1/i0000,0000b.dcm", b"abc" * 500),
        ("Train/1/.hidden", b""),
        ("Train/Ärzte 2.png", b"x"),
        (entry("Train/plain", kind=stat.S_IFREG), b"y"),
    )
    out = tmp_path / "out"
    out.mkdir()
    seen: list[tuple[int, int | None]] = []
    unpack(archive, out, LIMITS, progress=lambda done, total: seen.append((done, total)))
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert files == {
        "Train/1/i0000,0000b.dcm": b"abc" * 500,
        "Train/1/.hidden": b"",
        "Train/Ärzte 2.png": b"x",
        "Train/plain": b"y",
    }
    assert seen[-1] == (1502, 1502)
    assert not (out / "Train" / "plain").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/etc/passwd", "leads out"),
        ("../../outside", "leads elsewhere"),
        ("Train/../../../outside", "leads elsewhere"),
        ("Train/./x", "leads elsewhere"),
        ("Train//x", "leads elsewhere"),
        ("..", "leads elsewhere"),
        ("..\\..\\outside", "leads out"),
        ("C:/outside", "leads out"),
        ("C:outside", "leads out"),
        ("file.txt:stream", "leads out"),
        ("a\nb", "characters that no file name has"),
        ("a\x1b[2Jb", "characters that no file name has"),
        ("x" * 201, "too long"),
        ("/".join("x" * 40), "too long"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, said: str):
    archive = archive_of(tmp_path / "a.zip", ("Train/good", b"good"), (name, b"bad"))
    refused(archive, tmp_path / "t", said)


def test_a_name_with_a_hidden_end_is_refused(tmp_path: Path):
    archive = archive_of(tmp_path / "a.zip", ("good.txt/x.exe", b"bad"))
    archive.write_bytes(archive.read_bytes().replace(b"good.txt/", b"good.txt\0"))
    refused(archive, tmp_path / "t", "characters that no file name has")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int):
    archive = archive_of(tmp_path / "a.zip", (entry("Train/link", kind=kind), b"/etc"), ("Train/link/passwd", b"x"))
    refused(archive, tmp_path / "t", "link or no plain file")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("Train/a", "Train/a"), "twice"),
        (("Train/a.png", "Train/A.PNG"), "twice, perhaps in another case"),
        (("Straße", "STRASSE"), "twice, perhaps in another case"),
        (("\u00e9", "e\u0301"), "twice, perhaps in another case"),
        (("Train/a", "Train/a/b"), "as a file and as a folder"),
        (("Train/a/b", "Train/A"), "as a file and as a folder"),
        (("Train/a", "Train/a/"), "as a file and as a folder"),
    ],
)
def test_one_place_for_two_things_is_refused(tmp_path: Path, names: tuple[str, str], said: str):
    archive = archive_of(tmp_path / "a.zip", *((name, b"x" if not name.endswith("/") else b"") for name in names))
    refused(archive, tmp_path / "t", said)


def test_too_many_entries_are_refused_and_as_many_as_allowed_are_not(tmp_path: Path):
    refused(archive_of(tmp_path / "7.zip", *((f"f{i}", b"") for i in range(7))), tmp_path / "t", "7 entries")
    unpack(archive_of(tmp_path / "6.zip", *((f"f{i}", b"") for i in range(6))), tmp_path / "t/inside/target", LIMITS)


def test_a_bomb_that_says_so_is_refused(tmp_path: Path):
    bomb = archive_of(tmp_path / "a.zip", ("a", bytes(5000)), ("b", bytes(5001)))
    assert bomb.stat().st_size < 400
    refused(bomb, tmp_path / "t", "unpacks to 10001 bytes, more than the 10000")


def test_a_bomb_that_hides_its_size_ends_at_the_size_it_says(tmp_path: Path):
    bomb = archive_of(tmp_path / "a.zip", ("a", bytes(1_000_000)))
    lying = bomb.read_bytes().replace(struct.pack("<L", 1_000_000), struct.pack("<L", 100))
    bomb.write_bytes(lying)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadData, match="no whole zip archive"):
        unpack(bomb, out, LIMITS)
    assert sum(path.stat().st_size for path in out.iterdir()) <= 100


def test_encrypted_entries_and_unknown_methods_are_refused(tmp_path: Path):
    plain = archive_of(tmp_path / "a.zip", ("secret", b"x" * 50)).read_bytes()
    central = plain.index(b"PK\x01\x02")
    encrypted = bytearray(plain)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    (tmp_path / "e.zip").write_bytes(encrypted)
    refused(tmp_path / "e.zip", tmp_path / "t", "'secret', which is encrypted")
    (tmp_path / "m.zip").write_bytes(plain[: central + 10] + b"\x63" + plain[central + 11 :])
    refused(tmp_path / "m.zip", tmp_path / "u", "method 99")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", bytes(10))
    refused(tmp_path / "b.zip", tmp_path / "v", "method 12")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_no_archive(tmp_path: Path, kept: float):
    whole = archive_of(tmp_path / "a.zip", ("a", b"abc" * 900), ("b", b"x")).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: int(kept * len(whole))])
    refused(tmp_path / "a.zip", tmp_path / "t", "no whole zip archive .*fetch it again")


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path):
    whole = bytearray(archive_of(tmp_path / "a.zip", (_stored("a"), b"abcdefgh" * 9)).read_bytes())
    whole[60] ^= 1
    (tmp_path / "a.zip").write_bytes(whole)
    (tmp_path / "out").mkdir()
    with pytest.raises(BadData, match="CRC"):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)


def test_random_damage_never_ends_in_anything_but_one_line(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("Train/", "Train/1/a.dcm", "Train/2/b.png"):
            archive.writestr(name, b"" if name.endswith("/") else b"abc" * 40)
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    random = np.random.default_rng(5)
    ends = set()
    for number in range(400):
        damaged = whole.copy()
        where = random.integers(0, len(damaged), 2)
        damaged[where] = random.integers(0, 256, 2)
        path, out = tmp_path / "damaged.zip", tmp_path / str(number) / "out"
        out.mkdir(parents=True)
        path.write_bytes(damaged.tobytes())
        try:
            unpack(path, out, LIMITS)
            ends.add("unpacked")
        except BadData as error:
            ends.add("refused" if "\n" not in str(error) else "refused in several lines")
        assert list(out.parent.iterdir()) == [out]
        assert sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) <= LIMITS.unpacked_bytes
    assert ends == {"unpacked", "refused"}


def test_a_disk_without_room_is_told_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2_000_000})())
    archive = archive_of(tmp_path / "a.zip", ("a", bytes(3_500_000)))
    (tmp_path / "out").mkdir()
    with pytest.raises(Interrupted, match=r"4 MB are needed in .*, 2 MB are free. Free some and run the same command"):
        unpack(archive, tmp_path / "out", ZipLimits(5, 10_000_000))
    assert list((tmp_path / "out").iterdir()) == []


def _stored(name: str) -> zipfile.ZipInfo:
    info = entry(name)
    info.compress_type = zipfile.ZIP_STORED
    return info
