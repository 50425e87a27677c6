"""Finished runs whose network is known by hand: each organ is a step of brightness, so predictions follow from pixels.

An image has air of 0, a body of 400, and organs of 420, 440, 460 and 480 in class order. The network has one weight per
class: logit_c = sharpness · (c x − t_1 − … − t_c), x the normalised brightness, so that log p_c − log p_(c−1) is
sharpness · (x − t_c).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from phantoms import IN_PHASE, ORGAN_BOXES, SHAPE, organ_labels, write_series
from steelyard.labels import CHAOS_MR, LabelSet
from studies import tiny_spec

AIR, BODY, STEP = 0, 400, 20
BODY_BOX = (slice(0, SHAPE[0]), slice(2, 22), slice(1, 19))
SECRETS = ("Doe^Jane", "19700203", "MRN-5544")  # name, birth date, number
IDENTITY = {"PatientName": SECRETS[0], "PatientBirthDate": SECRETS[1], "PatientID": SECRETS[2]}


class StepNetwork(nn.Module):
    """One linear step per class of the first channel."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(classes, channels))
        self.shift = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bchw,kc->bkhw", images, self.slope) - self.shift[:, None, None]


class RightHalfNetwork(StepNetwork):
    """Finds liver in the columns before the middle, whatever is there: the patient's right half in axial DICOM."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images) * 0
        logits[:, 1] = 1.0
        logits[:, 1, :, images.shape[-1] // 2 :] = -1.0
        return logits


def bright(labels: np.ndarray | None = None) -> np.ndarray:
    """The image of those class indices; of the phantoms' organ boxes when left out."""
    labels = organ_labels() if labels is None else labels
    pixels = np.full(labels.shape, AIR, np.uint16)
    pixels[BODY_BOX] = BODY
    return np.where(labels > 0, BODY + STEP * labels.astype(int), pixels).astype(np.uint16)


def normalised(grey: float, pixels: np.ndarray) -> float:
    """A grey value as the network sees it: zero mean and unit spread over the body (all that is not air)."""
    body = pixels[pixels > AIR].astype(np.float64)
    return float((grey - body.mean()) / body.std())


def thresholds(pixels: np.ndarray, *, shift: float = 0.5) -> list[float]:
    """Between the greys of neighbouring classes: half a step above the lower one."""
    return [normalised(BODY + STEP * (index + shift), pixels) for index in range(len(ORGAN_BOXES))]


def write_run(
    folder: Path,
    *,
    steps: list[float] | None = None,
    sharpness: float = 200.0,
    sequence: str = "t1_in",
    label_set: LabelSet = CHAOS_MR,
    preprocess: dict[str, Any] | None = None,
    network: str = "hand_made_runs:StepNetwork",
    **spec_tables: dict[str, Any],
) -> Path:
    """A finished run; returns its folder."""
    steps = thresholds(bright()) if steps is None else steps
    phases = len(sequence.split("+"))
    spec = tiny_spec(
        folder, folder, preprocess={"size": 32} | (preprocess or {}), data={"sequences": [sequence]},
        grid={"network": [network]}, **spec_tables,
    )  # fmt: skip
    classes = label_set.class_count
    channels = phases * (2 * spec.preprocess.context + 1)
    slope = torch.zeros(classes, channels)
    slope[:, 0] = sharpness * torch.arange(classes)
    shift = torch.tensor([sharpness * sum(steps[:index]) for index in range(classes)])
    folder.mkdir(parents=True)
    save_file({"slope": slope, "shift": shift}, folder / "weights.safetensors")
    record = {
        "schema": 1, "study": "by-hand", "run": folder.name, "network": network, "loss": "dice", "fold": 0, "seed": 1,
        "task": "multiclass", "phases": phases, "label_set": {"organs": [asdict(organ) for organ in label_set.organs]},
        "spec": spec.model_dump(mode="json"), "manifest": {"precision": "fp32"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "DONE").write_text("")
    return folder


def write_scan(
    folder: Path, *, study: str = "1", series: str = "1", pixels: np.ndarray | None = None, **tags: Any
) -> Path:
    """An in-phase series of the image, with a patient's identity in its headers; returns `folder`.

    `tags` may be those of `write_series`, too: orientation, positions, step_mm, pixel_spacing.
    """
    pixels = bright() if pixels is None else pixels
    uids = {
        "StudyInstanceUID": f"1.2.826.0.1.{study}",
        "SeriesInstanceUID": f"1.2.826.0.1.{study}.{series}",
        "FrameOfReferenceUID": f"1.2.826.0.1.{study}.9",
    }
    names = [f"IMG-{k + 1:03d}.dcm" for k in range(len(pixels))]
    write_series(folder, pixels, names=names, **(uids | IDENTITY | IN_PHASE | tags))
    return folder
