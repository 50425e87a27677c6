"""A phantom on which the default weights fail: beside a large organ lies a small, faint one, and a small network.

    python studies/small-organ/small_organ.py /tmp/small-organ

writes twelve patients in nnU-Net's format: a bright disc, and a faint spot of 16 to 28 pixels beside it, in noise of
unit spread. With equal prices the network gives the spot up and stays at that; it finds it only where the price of a
spill is high, which also is the price of background painted over an organ. So the best r lies far below the centre.
`grid.toml` and `search.toml` look for it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from torch import nn

from steelyard.io.nifti import write_label_map, write_volume
from steelyard.labels import LabelSet, Organ
from steelyard.volume import Geometry, LabelMap, Volume

PATIENTS = 12
SHAPE = (8, 32, 32)
BRIGHTNESS = (10.0, 13.0, 12.0)  # background, large organ, small organ; the noise has a spread of 1
ORGANS = LabelSet((Organ("large", 1, 1, (213, 94, 0)), Organ("small", 2, 2, (86, 180, 233))))


class TwoLayers(nn.Sequential):
    """Two convolutions that see 5 × 5 pixels: enough for the spot, with patience."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, classes, 3, padding=1))


def patient(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and labels (slice, row, column) of one patient."""
    random = np.random.default_rng([7, number])
    labels = np.zeros(SHAPE, np.uint8)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    row, column = random.uniform(12, 20, 2)
    labels[1:7, (rows - row) ** 2 + (columns - column) ** 2 < 64] = 1
    row, column = row + random.choice([-11, 11]), column + random.choice([-11, 11])
    for index in range(2, 6):
        labels[index, (rows - row) ** 2 + (columns - column) ** 2 < random.uniform(5, 9)] = 2
    return np.array(BRIGHTNESS)[labels] + random.normal(0, 1, SHAPE), labels


def write(folder: Path) -> None:
    """All patients, with 2 mm voxels."""
    geometry = Geometry(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    for number in range(1, PATIENTS + 1):
        intensities, labels = patient(number)
        write_volume(
            folder / "imagesTr" / f"p{number:02}_0000.nii.gz", Volume(intensities.astype(np.float32), geometry)
        )
        write_label_map(folder / "labelsTr" / f"p{number:02}.nii.gz", LabelMap(labels, geometry, ORGANS))
    about = {
        "channel_names": {"0": "noise"},
        "labels": {"background": 0, "large": 1, "small": 2},
        "numTraining": PATIENTS,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
