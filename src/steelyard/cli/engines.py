"""Options of the verbs that carry out trainings: who does them, and where."""

from __future__ import annotations

from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

Engine = Literal["local", "ray", "slurm"]
Workers = Annotated[int | None, Parameter(validator=cyclopts.validators.Number(gte=1))]
GpuShare = Annotated[float | None, Parameter(validator=cyclopts.validators.Number(gt=0, lte=1))]
Slurm = Annotated[dict[str, str] | None, Parameter(negative=())]
DryRun = Annotated[bool, Parameter(negative=())]
