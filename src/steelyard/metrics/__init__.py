"""Metrics: numbers that say how well a prediction fits the reference. A new one is one decorated function.

The names in `METRICS` are of parts (`Metric`) that carry unit, convention, direction and what empty masks give.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.registry import Registry

if TYPE_CHECKING:
    from steelyard.metrics.metric import Metric

METRICS: Registry[Metric] = Registry("metric", package="steelyard.metrics", folder=Path(__file__).parent)
