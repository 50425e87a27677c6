"""From the files of CHAOS to cached slices, beside highdicom and PIL."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.line import Limit, Line, Work
from benchmarks.machine import copy_bytes_per_second
from benchmarks.scenes import patient_id

if TYPE_CHECKING:
    import numpy as np

# a folder → voxels (slice, row, column), the affine of these indices to LPS mm, each slice's place among sorted files
ReadSeries = Callable[[Path], "tuple[np.ndarray, np.ndarray, list[int]]"]
SEQUENCES = ("t1_in", "t1_out", "t2_spir")
SIZE = 256

LINE = Line(
    "reading a CHAOS tree of 14 patients, 3 sequences each, to cached slices",
    "highdicom get_volume_from_series and PIL, series by series; then the same normalisation and the same file",
    wanted=1.8,
    of=(42, "series"),
    repeats=5,
    measures_memory=False,  # a study may read in several processes
    needs=("STEELYARD_DATA",),
    shortfall=(
        "More than half of a series' time is normalisation (body mask, percentiles) and writing, which both sides do. "
        "On the AMD EPYC 1.71 to 1.94 were seen with the same code, before prepared cases were written without waiting "
        "for the disk."
    ),
)


def ours() -> Work:
    """As `steelyard run` does it: list the cases, hash their files, prepare and keep each. A new folder every time."""
    places = new_folders()
    return lambda: read_by_us(next(places))


def peer() -> Work:
    places = new_folders()
    return lambda: read_by_them(next(places), by_highdicom)


def read_by_us(out: Path) -> list:
    from rich.console import Console

    from steelyard.datasets.chaos import ChaosDataset
    from steelyard.datasets.fingerprint import data_hashes
    from steelyard.study.cases import prepare_cases
    from steelyard.study.folds import make_folds
    from steelyard.study.plan import Plan, Run
    from steelyard.study.spec import Part, parse_spec

    spec = parse_spec(
        {
            "study": {"name": "reading", "out": str(out)},
            "data": {"dataset": "chaos", "root": str(_root()), "sequences": list(SEQUENCES)},
            "preprocess": {"size": SIZE},
            "grid": {"network": ["unet_resnet18"], "loss": ["iou0515"]},
        },
        source="reading",
    )
    dataset = ChaosDataset(_root())
    keys = dataset.keys(SEQUENCES)
    hashes = data_hashes(dataset, keys)
    fold = make_folds(keys, count=2, by="patient", seed=1)[0]
    run = Run("reading", Part(name="unet_resnet18"), Part(name="iou0515"), fold, seed=1)
    plan = Plan(spec, dataset, hashes, "fp32", (run,), ())
    cases = prepare_cases(plan, plan.runs, console=Console(quiet=True), stop=lambda: False)
    return [cases[key] for key in sorted(cases)]


def read_by_them(out: Path, read_series: ReadSeries) -> list:
    """Series by series; masks belong to the image of their name (the in-phase's for both phases)."""
    import numpy as np
    from PIL import Image

    from steelyard.labels import CHAOS_MR
    from steelyard.preprocess.cache import Preprocessing, prepare
    from steelyard.volume import Case, Geometry, LabelMap, Volume

    found = []
    out.mkdir(parents=True)
    for patient, (name, images, ground) in itertools.product(_patients(), _places()):
        voxels, affine, order = read_series(patient / images)
        masks = [np.array(Image.open(file)) for file in sorted((patient / ground).glob("*.png"))]
        source = np.stack([masks[k] for k in order])
        if affine[2, 0] < 0:  # towards the head, as the other side
            voxels, source = voxels[::-1], source[::-1]
            affine = affine.copy()
            affine[:3, 3] += (len(voxels) - 1) * affine[:3, 0]
            affine[:3, 0] *= -1
        geometry = Geometry(voxels.shape, affine)
        labels = np.searchsorted([0, *(organ.source_value for organ in CHAOS_MR.organs)], source).astype(np.uint8)
        who = patient_id(int(patient.name))
        case = Case(who, who, name, Volume(voxels, geometry), LabelMap(labels, geometry, CHAOS_MR))
        prepared = prepare(case, Preprocessing(size=SIZE))
        np.savez(out / f"{patient.name}-{name}.npz", images=prepared.images, labels=prepared.labels)
        found.append(prepared)
    return found


def by_highdicom(folder: Path) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """As its guide reads a series."""
    import highdicom
    import numpy as np
    import pydicom

    datasets = [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]
    volume = highdicom.get_volume_from_series(datasets)
    along = [np.dot(dataset.ImagePositionPatient, volume.affine[:3, 0]) for dataset in datasets]
    return volume.array.astype(np.float32), volume.affine, list(np.argsort(along))


def same() -> None:
    check_same(by_highdicom)


def check_same(read_series: ReadSeries) -> None:
    """Raises unless both sides hold the same slices."""
    import numpy as np

    places = new_folders()
    own = {(case.patient_id, case.sequence): case for case in read_by_us(next(places))}
    for case in read_by_them(next(places), read_series):
        mine = own.pop((case.patient_id, case.sequence))
        if not (np.allclose(mine.images, case.images, atol=1e-4) and np.array_equal(mine.labels, case.labels)):
            raise AssertionError(f"patient {case.patient_id}, {case.sequence}: the slices differ")
    if own:
        raise AssertionError(f"only we read {sorted(own)}")


def limit() -> Limit:
    """Files read once and cached slices written once, all of it in memory."""
    files = [f for patient in _patients() for f in patient.rglob("*") if f.suffix in (".dcm", ".png")]
    read, slices = sum(file.stat().st_size for file in files), sum(file.suffix == ".dcm" for file in files)
    moved = 2 * read + slices * SIZE * SIZE * (4 + 1)
    return Limit(moved / copy_bytes_per_second(), f"{read / 1e6:.0f} MB read, hashed and cached once in memory")


def new_folders() -> Iterator[Path]:
    """One after the other in a temporary folder, of which the last alone is kept."""
    with tempfile.TemporaryDirectory() as temporary:
        for number in itertools.count():
            shutil.rmtree(Path(temporary) / f"{number - 1}", ignore_errors=True)
            yield Path(temporary) / f"{number}"


def _root() -> Path:
    return Path(os.environ["STEELYARD_DATA"]) / "Train_Sets"


def _patients() -> list[Path]:
    return sorted(folder for folder in (_root() / "MR").iterdir() if folder.is_dir())


def _places() -> list[tuple[str, str, str]]:
    from steelyard.datasets.chaos import MR_SEQUENCES

    return [(name, MR_SEQUENCES[name].images, MR_SEQUENCES[name].masks) for name in SEQUENCES]
