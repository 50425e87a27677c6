"""Where exported files go: whole or not at all, and never over a file that somebody else wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import BadSpec
from steelyard.export.source import MARK
from steelyard.runstore import write_bytes

OTHER_ENDINGS = (".py", ".json", ".yaml", ".yml", ".toml", ".txt")  # somebody means a file, not a folder


@dataclass(frozen=True)
class Exported:
    """Texts by file, and what to tell whoever wants to use them."""

    files: Mapping[Path, str]
    next_steps: tuple[str, ...]

    def write(self) -> None:
        """All files; none when one of them is not ours to overwrite."""
        for path in self.files:
            if path.is_dir():
                raise BadSpec(f"{path} is a folder, and a file of that name is to be written. Name another place.")
            if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
                raise BadSpec(f"{path} exists and was not written by export-loss. Name another file or folder.")
            if blocked := next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None):
                raise BadSpec(f"{blocked} is a file, where a folder for {path.name} is wanted. Name another place.")
        for path, text in self.files.items():
            write_bytes(path, text.encode())


@dataclass(frozen=True)
class Target:
    """`out` as a file when it ends as `default` does, else as a folder for a file named `default`."""

    out: Path
    default: str

    @property
    def file(self) -> Path:
        ending = Path(self.default).suffix
        if self.out.is_dir():
            return self.out / self.default
        if self.out.suffix == ending:
            return self.out
        if self.out.suffix in OTHER_ENDINGS or self.out.exists():
            raise BadSpec(f"a folder or a file that ends in {ending} was wanted; came {self.out}.")
        return self.out / self.default
