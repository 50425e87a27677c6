"""Holm's correction: many comparisons at once, and still at most a 5 % chance of any false finding."""

from __future__ import annotations

import numpy as np

from steelyard.stats.paired import Floats


def holm(p: Floats, *, family_size: int | None = None) -> Floats:
    """Adjusted p values along the last axis: the k-th smallest times (family − k + 1), never below the one before.

    `family_size` is the declared number of comparisons, at least the number given (the default). Comparisons that are
    declared and not there, or undefined (NaN, and stay so), count as p = 1: a study looked at before its end, or with
    an undefined organ, gets no smaller family.

    Raises:
        ValueError: more p values than the family has members.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65–70.
    """
    count = p.shape[-1]
    size = count if family_size is None else family_size
    if size < count:
        raise ValueError(f"a family of {size} comparisons cannot hold {count} p values. Declare all of them.")
    order = np.argsort(p, axis=-1)  # NaN last
    steps = np.take_along_axis(p, order, axis=-1) * (size - np.arange(count))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return adjusted
