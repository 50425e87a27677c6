"""Invented abdominal MRI: patients with known anatomy, written as files that look like those of the CHAOS archive."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np

from steelyard.datasets import DATASETS, CaseKey
from steelyard.datasets.chaos import ChaosDataset
from steelyard.datasets.phantom_files import IN_PHASE, OUT_PHASE, T2_SPIR, Placement, write_images, write_masks
from steelyard.datasets.phantom_patient import random_anatomy
from steelyard.datasets.phantom_shapes import SmoothField, rotation
from steelyard.datasets.phantom_signal import Grid, magnitude, random_signals, scan, shading
from steelyard.errors import BadData, BadSpec
from steelyard.labels import LabelSet
from steelyard.volume import Case

MANIFEST = "phantom.json"
VERSION = 1  # raised whenever the same options would draw other images
COVERAGE_MM = 205.0  # from below the kidneys to above the liver
MIDDLE_MM = 12.0  # of the covered length, above the renal hila


def write_phantom(folder: Path, *, patients: int, seed: int, size: int = 256, slices: int = 24) -> None:
    """Write abdominal phantoms in the layout of the CHAOS MR archive.

    Args:
        folder: made anew; receives `Train_Sets/MR/<1…patients>/` and the manifest `phantom.json`.
        patients: how many; patient n is the same however many there are.
        seed: equal seeds and options give byte-identical files.
        size: rows and columns of each image; the field of view stays 385–460 mm.
        slices: images per T1 volume (T2 has two more) over 205 mm; the slice step follows.

    Each patient has T1 in-phase and out-phase on one grid and fat-suppressed T2 on its own; every third patient lies
    slightly oblique. Nothing appears in `folder` before all is written.

    Raises:
        BadSpec: an option is out of range.
        BadData: `folder` exists and is not an empty folder, or cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_phantom(Path(folder), patients=1, seed=0, size=32, slices=4)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['Train_Sets', 'phantom.json']
    """
    options = _options(patients=patients, seed=seed, size=size, slices=slices)
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        if not _is_free(folder):
            raise BadData(f"phantoms need a new or empty folder; {folder} is in use. Name another or empty it.")
        for number in range(1, patients + 1):
            _write_patient(partial / "Train_Sets" / "MR" / str(number), number, seed=seed, size=size, slices=slices)
        (partial / MANIFEST).write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder)
    except OSError as error:
        raise BadData(
            f"phantoms cannot be written to {folder}: {error.strerror}. Free space or name another folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@DATASETS.register("phantom", "invented abdominal MRI in the CHAOS layout, generated on first use")
class PhantomDataset:
    """Phantom patients as a data set with the sequences `t1_in`, `t1_out` and `t2_spir`; see `write_phantom`.

    The files are generated into `root` when it is missing or empty, and used again when its manifest names the same
    options; otherwise `BadSpec`.
    """

    def __init__(
        self, root: Path | str, *, patients: int = 12, seed: int = 0, size: int = 256, slices: int = 24
    ) -> None:
        root = Path(root)
        options = _options(patients=patients, seed=seed, size=size, slices=slices)
        if _is_free(root):
            write_phantom(root, patients=patients, seed=seed, size=size, slices=slices)
        elif (found := _read_manifest(root)) != options:
            raise BadSpec(f"{root} should hold phantoms made with {options}, but holds {found}. Name another folder.")
        self._chaos = ChaosDataset(root)

    @property
    def label_set(self) -> LabelSet:
        return self._chaos.label_set

    @property
    def sequences(self) -> tuple[str, ...]:
        return self._chaos.sequences

    def keys(self, sequences: tuple[str, ...]) -> tuple[CaseKey, ...]:
        return self._chaos.keys(sequences)

    def files(self, key: CaseKey) -> tuple[Path, ...]:
        return self._chaos.files(key)

    def read(self, key: CaseKey) -> Case:
        return self._chaos.read(key)


def _options(*, patients: int, seed: int, size: int, slices: int) -> dict[str, int]:
    limits = {"patients": (patients, 1, 999), "size": (size, 32, 1024), "slices": (slices, 4, 200)}
    wrong = [
        f"{name} must be {low}–{high}; came {value}."
        for name, (value, low, high) in limits.items()
        if not low <= value <= high
    ]
    if seed < 0:
        wrong.append(f"seed must be 0 or more; came {seed}.")
    if wrong:
        raise BadSpec(*wrong)
    return {"version": VERSION, "patients": patients, "seed": seed, "size": size, "slices": slices}


def _is_free(folder: Path) -> bool:
    """Whether the folder is missing or empty; one that cannot be looked into is not free."""
    try:
        return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError:
        return False


def _read_manifest(root: Path) -> object:
    try:
        return json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "something else"


def _write_patient(folder: Path, number: int, *, seed: int, size: int, slices: int) -> None:
    streams = np.random.SeedSequence(seed, spawn_key=(number,)).spawn(4)
    body, scanner, t1_noise, t2_noise = (np.random.default_rng(stream) for stream in streams)
    anatomy = random_anatomy(body)
    signals = random_signals(body)
    texture = SmoothField.random(body, lattice_mm=7)
    noise, scale = float(scanner.uniform(0.012, 0.03)), float(scanner.uniform(400, 1000))
    centre = scanner.normal((0, -20, 0), (15, 20, 60))
    turns = scanner.normal(0, 0.008, 3) if number % 3 == 2 else np.zeros(3)
    tilt = rotation(about_x=turns[0], about_y=turns[1], about_z=turns[2])
    identity = [f"phantom {VERSION}", str(seed), str(number), str(size), str(slices)]

    def grid_of(count: int, coverage_mm: float, view_mm: float) -> tuple[Grid, Placement]:
        pixel, step = view_mm / size, coverage_mm / count
        middle = scanner.normal((0, 0, MIDDLE_MM), (4, 4, 3))
        in_plane = (np.arange(size) - (size - 1) / 2) * pixel
        heights = (np.arange(count) - (count - 1) / 2) * step + middle[2]
        grid = Grid(heights, in_plane + middle[1], in_plane + middle[0], thickness_mm=round(step / 1.1, 1))
        corner = np.array([grid.x_mm[0], grid.y_mm[0], grid.z_mm[0]])
        return grid, Placement(centre + tilt @ corner, tilt[:, 0], tilt[:, 1], pixel, step, grid.thickness_mm)

    view = max(float(scanner.uniform(405, 460)), 2 * anatomy.half_width_mm + 30)
    grid, placement = grid_of(slices, COVERAGE_MM, view)
    picture = scan(anatomy, signals, texture, grid)
    shade = shading(t1_noise, grid)
    in_phase = (picture.water + picture.fat) * shade
    out_phase = np.abs(picture.water - picture.fat) * shade
    for sequence, signal in ((IN_PHASE, in_phase), (OUT_PHASE, out_phase)):
        images = magnitude(t1_noise, signal, noise=noise, scale=scale)
        write_images(folder, number, sequence, images, placement, identity=identity)
    write_masks(folder, IN_PHASE, picture.labels)

    view = max(float(scanner.uniform(385, 430)), 2 * anatomy.half_width_mm + 20)
    grid, placement = grid_of(slices + 2, COVERAGE_MM + 10, view)
    picture = scan(anatomy, signals, texture, grid)
    images = magnitude(t2_noise, picture.t2 * shading(t2_noise, grid), noise=noise, scale=1.5 * scale)
    write_images(folder, number, T2_SPIR, images, placement, identity=identity)
    write_masks(folder, T2_SPIR, picture.labels)
