"""Does an exported network answer as the one in torch? Asked on noise, and on slices of real or invented patients."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from steelyard.datasets import DATASETS, CaseKey
from steelyard.datasets.phantom import PhantomDataset
from steelyard.errors import SteelyardError
from steelyard.preprocess.cache import with_context
from steelyard.runstore import RunFolder, read_json
from steelyard.study.model import Model
from steelyard.volume import Volume

AGREEMENT_WANTED = 0.9999  # of all pixels; rounding decides only where two classes are all but equally probable
SLICES_AT_ONCE = 16
NOISE_SLICES = (1, 3)  # two sizes of a batch, so that one that was frozen into the file is found
PHANTOM_SIZE, PHANTOM_SLICES = 96, 8

Images = tuple[str, Iterable[np.ndarray]]  # what they are, and prepared slices (slice, channel, row, column) by case
Network = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """Labels of both networks on the same images.

    Attributes:
        images: what they were, in words.
        pixels: how many, of all slices.
        different: pixels with another label.
        largest_difference: between two probabilities of one class at one pixel.
        largest_gap: between torch's two largest probabilities at a pixel with another label; 0 where there is none.
    """

    images: str
    slices: int
    pixels: int
    different: int
    largest_difference: float
    largest_gap: float

    @property
    def share(self) -> float:
        """Of pixels with the same label."""
        return 1 - self.different / self.pixels

    def __str__(self) -> str:
        told = (
            f"{self.images}, {self.slices} slices: {self.share:.6%} of {self.pixels} pixels have the same label; "
            f"probabilities differ by at most {self.largest_difference:.1e}"
        )
        if self.different:
            told += f"; where labels differ, the two largest lie within {self.largest_gap:.1e}"
        return told


def compare(torch_network: Network, exported: Network, cases: Iterable[np.ndarray], images: str) -> Agreement:
    """Both networks' labels of prepared slices (slice, channel, row, column), case by case and a few slices at a time.

    Raises:
        SteelyardError: the exported network answers with another shape, or with values that are not finite.
    """
    slices = pixels = different = 0
    largest_difference = largest_gap = 0.0
    for chunk in _chunks(cases):
        wanted, came = torch_network(chunk), exported(chunk)
        if came.shape != wanted.shape or not np.isfinite(came).all():
            raise SteelyardError(
                f"the exported network answers {images} with {came.shape} where torch answers {wanted.shape}, or with "
                "values that are not finite. It is not written; use another network, or another version of torch."
            )
        differ = wanted.argmax(1) != came.argmax(1)
        second, first = np.moveaxis(np.sort(wanted, axis=1)[:, -2:], 1, 0)
        slices += len(chunk)
        pixels += differ.size
        different += int(differ.sum())
        largest_difference = max(largest_difference, float(np.abs(wanted - came).max()))
        largest_gap = max(largest_gap, float((first - second)[differ].max(initial=0)))
    return Agreement(images, slices, pixels, different, largest_difference, largest_gap)


def _chunks(cases: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for case in cases:
        for start in range(0, len(case), SLICES_AT_ONCE):
            yield np.ascontiguousarray(case[start : start + SLICES_AT_ONCE], np.float32)


def compare_all(torch_network: nn.Module, exported: Network, images: Iterable[Images]) -> tuple[Agreement, ...]:
    """On each of the images.

    Raises:
        SteelyardError: labels agree in fewer than `AGREEMENT_WANTED` of the pixels of one of them.
    """

    @torch.inference_mode()
    def ask_torch(slices: np.ndarray) -> np.ndarray:
        return torch_network(torch.from_numpy(slices)).numpy()

    found = []
    for title, cases in images:
        agreement = compare(ask_torch, exported, cases, title)
        if not agreement.share >= AGREEMENT_WANTED:
            raise SteelyardError(
                f"the exported network gives other labels than torch: {agreement}. {AGREEMENT_WANTED:.2%} were wanted; "
                "it is not written."
            )
        found.append(agreement)
    return tuple(found)


def noise(model: Model) -> Iterator[Images]:
    """Of zero mean and unit spread, as prepared images are; in batches of two sizes."""
    random = np.random.default_rng(0)
    for count in NOISE_SLICES:
        shape = (count, model.channels, model.preprocessing.size, model.preprocessing.size)
        yield f"noise, batch of {count}", [random.standard_normal(shape, np.float32)]


def patients(model: Model, run: Path) -> Iterator[Images]:
    """The run's held-out cases, read one by one, or an invented patient where their data are not at hand.

    Raises:
        BadData: the data are at hand, but cannot be read.
    """
    dataset, keys = _held_out(model, run)
    if keys:
        images = (_prepared(model, dataset.read(key).image) for key in keys)
        yield f"held-out cases of the study, {len(keys)} in all", images
    else:
        yield "an invented patient (the study's data are not at hand)", [_invented(model)]


def _held_out(model: Model, run: Path) -> tuple[Any, list[CaseKey]]:
    """Data set and cases that the run was tested on; no cases where its data are not where the run saw them."""
    try:
        record = read_json(RunFolder(run).manifest)
        data, tested = record["spec"]["data"], record["manifest"]["split"]["test"]
        root = Path(os.path.expandvars(data["root"])).expanduser()
        if not root.is_dir() or not any(root.iterdir()):  # an empty one would be filled with phantoms
            return None, []
        dataset = DATASETS[data["dataset"]](root, **data["options"])
        return dataset, [key for key in dataset.keys(model.sequences) if key.patient_id in tested]
    except (SteelyardError, KeyError, TypeError, AttributeError):  # other data lie there, or a record without a split
        return None, []


def _invented(model: Model) -> np.ndarray:
    """A phantom, its phases repeated for as many channels as the network takes."""
    with tempfile.TemporaryDirectory() as folder:
        phantom = PhantomDataset(Path(folder), patients=1, size=PHANTOM_SIZE, slices=PHANTOM_SLICES)
        (key,) = phantom.keys(("t1_in+t1_out",))
        image = phantom.read(key).image
    if model.phases == 1:
        return _prepared(model, Volume(image.intensities[0], image.geometry))
    phases = image.intensities[np.arange(model.phases) % len(image.intensities)]
    return _prepared(model, Volume(phases, image.geometry))


def _prepared(model: Model, image: Volume) -> np.ndarray:
    return with_context(model.prepared(image).images, model.preprocessing.context)


def as_json(agreements: tuple[Agreement, ...]) -> list[dict[str, Any]]:
    """Plain numbers and strings."""
    return [
        {
            "images": found.images,
            "slices": found.slices,
            "pixels": found.pixels,
            "different": found.different,
            "largest_difference": found.largest_difference,
            "largest_gap": found.largest_gap,
        }
        for found in agreements
    ]
