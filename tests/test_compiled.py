"""A C file is compiled once and kept, tried before it is trusted, and done without where that does not work."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from steelyard.compiled import compiled

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "steelyard"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "twice.c"
    path.write_text("double twice(double x) { return 2 * x; }\n")
    return path


def declare(library: ctypes.CDLL) -> None:
    library.twice.argtypes, library.twice.restype = [ctypes.c_double], ctypes.c_double


def is_right(library: ctypes.CDLL) -> bool:
    return library.twice(1.5) == 3


@needs_compiler
def test_the_compiler_is_called_once_and_its_work_kept(source: Path, cache: Path) -> None:
    first = compiled(source, declare=declare, is_right=is_right)
    assert first is not None
    assert first.twice(-4.25) == -8.5
    (kept,) = cache.iterdir()
    assert kept.name.startswith("twice-")
    before = kept.stat().st_mtime_ns
    assert compiled(source, declare=declare, is_right=is_right) is not None
    assert [(file, file.stat().st_mtime_ns) for file in cache.iterdir()] == [(kept, before)]


@needs_compiler
def test_another_text_is_another_library(source: Path, cache: Path) -> None:
    assert compiled(source, declare=declare, is_right=is_right) is not None
    source.write_text("double twice(double x) { return x + x; }\n")
    assert compiled(source, declare=declare, is_right=is_right) is not None
    assert len(list(cache.iterdir())) == 2


@needs_compiler
@pytest.mark.parametrize(
    "text",
    ["double twice(double x) { return 2 * x + 1; }", "double thrice(double x) { return 3 * x; }", "no C at all"],
    ids=["wrong answer", "function missing", "no C"],
)
def test_what_does_not_answer_right_is_not_used(source: Path, text: str) -> None:
    source.write_text(text)
    assert compiled(source, declare=declare, is_right=is_right) is None


@pytest.mark.parametrize("body", ["exit 1", "exit 0", 'for last; do :; done; echo nonsense > "$last"'])
def test_a_compiler_that_fails_or_writes_nonsense_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, body: str
) -> None:
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text(f"#!/bin/sh\n{body}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    assert compiled(source, declare=declare, is_right=is_right) is None


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled(source, declare=declare, is_right=is_right) is None
