"""A table before it is a file or a page: cells with a value, a mark for the best, and a count of what is undefined."""

from __future__ import annotations

from dataclasses import dataclass

DASH = "–"  # shown for a value that is undefined or was not measured


@dataclass(frozen=True)
class Cell:
    """One number. `undefined` counts values that were left out of it; `note` is a word beside it.

    `word` stands in the number's place; `link` leads to the cases behind it; `shade`, 0 to 1, darkens the cell.
    """

    value: float | None = None
    decimals: int = 3
    best: bool = False
    undefined: int = 0
    note: str = ""
    word: str = ""
    link: str = ""
    shade: float = 0.0

    @property
    def number(self) -> str:
        """The rounded value with a true minus sign, ∞ for one without bound, the word, or a dash."""
        if self.word:
            return self.word
        if self.value is None:
            return DASH
        return f"{self.value:.{self.decimals}f}".replace("-", "−").replace("inf", "∞")

    @property
    def remark(self) -> str:
        """What stands beside the number: the note and the count of undefined values."""
        counted = f"{self.undefined} undefined" if self.undefined else ""
        return ", ".join(part for part in (self.note, counted) if part)


@dataclass(frozen=True)
class Header:
    """A row's or column's name, with a remark when something about it must be known, as `3 of 5 runs finished`."""

    label: str
    remark: str = ""

    @property
    def text(self) -> str:
        return f"{self.label} († {self.remark})" if self.remark else self.label


@dataclass(frozen=True)
class Row:
    header: Header
    cells: tuple[Cell, ...]
    summary: bool = False


@dataclass(frozen=True)
class Section:
    """Rows under a heading of their own; an empty title means none."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """`name` is its file name and anchor; `corner` names the rows."""

    name: str
    caption: str
    corner: str
    columns: tuple[Header, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
