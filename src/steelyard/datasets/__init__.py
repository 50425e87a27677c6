"""Data sets: where cases come from. A new one is one file with a decorated class that has the shape of `Dataset`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steelyard.labels import LabelSet
from steelyard.registry import Registry
from steelyard.volume import Case


@dataclass(frozen=True, order=True)
class CaseKey:
    """Which case, before anything is read. `sequence` may join registered phases: `t1_in+t1_out`."""

    patient_id: str
    sequence: str

    @property
    def case_id(self) -> str:
        """Unique in its data set and safe as a file name: `mr-01_t1_in`."""
        return f"{self.patient_id}_{self.sequence}"


class Dataset(Protocol):
    """What a data set answers. Built as `DATASETS[name](root, **options)`; listing reads no pixels."""

    @property
    def label_set(self) -> LabelSet: ...

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences that may be asked for, without joins."""
        ...

    def keys(self, sequences: tuple[str, ...]) -> tuple[CaseKey, ...]:
        """The cases of those sequences, sorted. `"a+b"` asks for a and b of one patient as channels."""
        ...

    def files(self, key: CaseKey) -> tuple[Path, ...]:
        """Every file that the case is read from, sorted: what a fingerprint hashes."""
        ...

    def read(self, key: CaseKey) -> Case:
        """The case, checked; `BadData` with patient, file and remedy when its files are broken."""
        ...


DATASETS: Registry[Callable[..., Dataset]] = Registry(
    "dataset", package="steelyard.datasets", folder=Path(__file__).parent
)
