"""The largest piece of an organ: what lies apart from it is taken for a mistake and given to the background."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from steelyard.volume import LabelMap

TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours: voxels that share a face, an edge or a corner


def largest_component(label_map: LabelMap, organs: Iterable[str]) -> LabelMap:
    """The label map with one piece left of each of those organs, the one with most voxels; the first of equals.

    Voxels belong to one piece that share a face, an edge or a corner (26 neighbours): slices of MR are thick, and a
    slanting organ may touch itself by corners alone. An organ that is not there stays away.

    >>> largest_component(label_map, ["liver"])
    """
    labels = label_map.labels.copy()
    for name in organs:
        index = label_map.label_set.organ(name).index
        pieces, count = ndimage.label(label_map.labels == index, structure=TOUCHING)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            labels[(pieces > 0) & (pieces != sizes.argmax())] = 0
    return replace(label_map, labels=labels)
