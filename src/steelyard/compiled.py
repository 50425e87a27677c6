"""C functions that the machine's own compiler makes once; without a compiler there are none.

A shared library lies in the user's cache, named by all that it depends on: source, flags and processor. It is tried on
a few numbers before it is trusted.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from steelyard.runstore import write_atomically

COMPILERS = ("cc", "gcc", "clang")
PLAIN = ("-O3", "-funroll-loops", "-fPIC", "-shared")
FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ())  # the first that the compiler understands
COMPILE_SECONDS = 60.0


def compiled(
    source: Path, *, declare: Callable[[ctypes.CDLL], None], is_right: Callable[[ctypes.CDLL], bool]
) -> ctypes.CDLL | None:
    """The functions of one C file; None where they cannot be made, or do not answer as they should.

    Args:
        declare: says what the functions take and give; AttributeError for one that is missing.
        is_right: tries the declared functions on something worked by hand.
    """
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    for flags in FLAGS:
        try:
            library = ctypes.CDLL(str(_kept(source, compiler, (*PLAIN, *flags))))
            declare(library)
        except (OSError, RuntimeError, subprocess.SubprocessError, AttributeError):  # RuntimeError: no home folder
            continue
        if is_right(library):
            return library
    return None


def _kept(source: Path, compiler: str, flags: tuple[str, ...]) -> Path:
    described = "\n".join([source.read_text(encoding="utf-8"), compiler, *flags, _processor()])
    path = _cache_folder() / f"{source.stem}-{hashlib.sha256(described.encode()).hexdigest()[:16]}.so"
    if not path.exists():

        def compile_to(temporary: Path) -> None:
            subprocess.run(
                [compiler, *flags, str(source), "-o", str(temporary)],
                check=True,
                capture_output=True,
                timeout=COMPILE_SECONDS,
            )

        write_atomically(path, compile_to)
    return path


def _processor() -> str:
    """What code for this very processor depends on: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(told))])


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "steelyard"
