"""Damaged samples, one after the other, in a process with bounds: seconds, memory, and what an error may say."""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.mutations import damaged
from fuzz.targets import TARGETS, Files, Target

SECONDS = 10  # of processor time for one input; the slowest whole sample takes one
MEMORY = 2 << 30  # bytes above what the process holds before
LONGEST_LINE = 4000  # characters: an error that fills the screen is none that a person reads
KINDS_OF_LOSS = ("gone", "folder", "empty", "link to itself", "not text", "another file")


@dataclass(frozen=True)
class Finding:
    """An input that ended otherwise than it should; `target` and `number` make it again."""

    target: str
    number: int
    what: str
    where: str
    told: str


class Hung(BaseException):
    """The time for one input is over. No reader's `except Exception` holds it up."""


def hunt(target: Target, first: int, count: int) -> Iterator[Finding | None]:
    """Damage and read; None for an input that ended as it should."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        samples = target.samples(Path(temporary))
        whole = [_laid_out(Path(temporary) / "whole" / name, files) for name, files in samples.items()]
        read = [_is_read(target, sample) for sample in whole]  # all of them: what is imported late is imported now
        if not any(read):
            raise RuntimeError(f"{target.name}: no whole sample can be read")
        bound_memory()
        for number in range(first, first + count):
            print(f"at {target.name}/{number}", flush=True)
            sample = laid_out(target, samples, number, Path(temporary) / "damaged")
            yield outcome(target, number, sample)


def laid_out(target: Target, samples: dict[str, Files], number: int, folder: Path) -> Path:
    """Input `number` of a target, as a folder: the same one every time."""
    rng = random.Random(f"{target.name}/{number}")
    name = rng.choice(sorted(samples))
    files = dict(samples[name])
    lost: dict[str, str] = {}
    for victim in rng.sample(sorted(files), min(len(files), rng.choice((1, 1, 1, 2, 4)))):
        if rng.random() < 0.06:
            lost[victim] = rng.choice(KINDS_OF_LOSS)
        else:
            files[victim] = damaged(victim, files[victim], rng)
    shutil.rmtree(folder, ignore_errors=True)
    sample = _laid_out(folder / name, files)
    for victim, kind in lost.items():
        _lose(sample / victim, kind, files, rng)
    return sample


def outcome(target: Target, number: int, sample: Path) -> Finding | None:
    """What is wrong with how the reading ends."""
    from steelyard.errors import BadSpec, SteelyardError

    def finding(what: str, error: BaseException) -> Finding:
        return Finding(target.name, number, what, _where(error), f"{type(error).__name__}: {str(error)[:300]}")

    before = _peak_bytes()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(sample)
    except SteelyardError as error:
        lines = error.errors if isinstance(error, BadSpec) else (str(error),)
        if any(not is_one_line(line) for line in lines):
            return finding("not one line", error)
        if any(len(line) > LONGEST_LINE for line in lines):
            return finding("a line without end", error)
        if (cause := _memory_error(error)) is not None:
            return finding("memory, reported as damage", cause)
    except Hung as error:
        return finding("hangs", error)
    except AssertionError as error:
        return finding("wrong result", error)
    except MemoryError as error:
        return finding("memory", error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return finding("another exception", error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if _peak_bytes() - before > MEMORY:
        return Finding(target.name, number, "memory", "", f"{(_peak_bytes() - before) >> 20} MB")
    return None


def is_one_line(text: str) -> bool:
    """Also for terminals: no character that moves the cursor, or turns the direction of what follows."""
    return len(text.splitlines()) == 1 and not any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def bound_memory() -> None:
    """From here on a request for far more than `MEMORY` fails."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))


def main() -> None:
    """`target first count`: says each input before it is read and each finding after it, a line each."""

    def hung(*_: object) -> None:
        raise Hung(f"more than {SECONDS} seconds")

    faulthandler.enable()
    signal.signal(signal.SIGPROF, hung)
    name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for found in hunt(TARGETS[name], first, count):
        if found is not None:
            print(f"found {json.dumps(asdict(found))}", flush=True)
    print("end", flush=True)


def show(name: str, number: int, folder: Path) -> None:
    """Lay one input out in a folder, read it, and print the whole traceback."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        sample = laid_out(target, target.samples(Path(temporary)), number, folder)
    print(f"input: {sample}")
    try:
        target.read(sample)
    except BaseException:
        traceback.print_exc()
    else:
        print("read without an error")


def _is_read(target: Target, sample: Path) -> bool:
    """Some real files are refused as they are."""
    from steelyard.errors import SteelyardError

    try:
        target.read(sample)
    except SteelyardError:
        return False
    return True


def _laid_out(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _lose(file: Path, kind: str, files: Files, rng: random.Random) -> None:
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    elif kind == "link to itself":
        file.symlink_to(file.name)
    elif kind == "not text":
        file.write_bytes(b"\xff\xfe\x80 no UTF-8")
    elif kind == "another file":
        file.write_bytes(files[rng.choice(sorted(files))])


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _memory_error(error: BaseException) -> BaseException | None:
    """A reader that ran out of memory and called it damage took memory before it looked."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, MemoryError):
        seen = seen.__cause__ or seen.__context__
    return seen


def _where(error: BaseException) -> str:
    """The innermost line of Steelyard's own, by which findings are told apart."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "/steelyard/" in frame.filename]
    last = own[-1] if own else None
    return "" if last is None else f"{last.filename.split('/steelyard/')[-1]}:{last.lineno}"


if __name__ == "__main__":
    main()
