"""How time and memory grow: measured points, kept in benchmarks/growth.json, and the exponent that fits their end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GROWTH = Path(__file__).with_name("growth.json")
LINEAR = 1.1  # a slope that noise may still make of 1
LEAST_MIB = 16.0  # less than this at the largest size is noise, and grows no further than that


@dataclass(frozen=True)
class Growth:
    """One curve: what it is against, the sizes, seconds and MiB at each, and the day and machine that measured them."""

    name: str
    title: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    mib: tuple[float, ...]
    where: str

    @property
    def time(self) -> float:
        """k in time ~ nᵏ, at the upper half of the sizes."""
        return exponent(self.sizes, self.seconds)

    @property
    def memory(self) -> float | None:
        """The same for memory; None where there is too little to tell."""
        return None if self.mib[-1] < LEAST_MIB else exponent(self.sizes, self.mib)

    @property
    def is_worse_than_linear(self) -> bool:
        return self.time > LINEAR or (self.memory is not None and self.memory > LINEAR)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The least-squares slope of log value against log size, over the upper half of the sizes (three at least).

    >>> round(exponent([1, 2, 4, 8, 16], [9, 10, 4 * 16, 4 * 64, 4 * 256]), 6)  # fixed cost first, then squared
    2.0
    """
    start = min(len(sizes) // 2, len(sizes) - 3)
    x = [math.log(size) for size in sizes[start:]]
    y = [math.log(max(value, 1e-9)) for value in values[start:]]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / sum((a - middle_x) ** 2 for a in x)


def read_growth(path: Path = GROWTH) -> list[Growth]:
    if not path.exists():
        return []
    return [
        Growth(one["name"], one["title"], tuple(one["sizes"]), tuple(one["seconds"]), tuple(one["mib"]), one["where"])
        for one in json.loads(path.read_text())
    ]


def write_growth(growth: Sequence[Growth], path: Path = GROWTH) -> None:
    path.write_text(json.dumps([asdict(one) for one in growth], indent=1) + "\n")
