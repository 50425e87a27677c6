"""A trained network as an ONNX file: probabilities from prepared slices, without torch and without Steelyard."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steelyard import __version__
from steelyard.errors import BadSpec
from steelyard.export.onnx_agreement import Agreement, Images, as_json, compare_all, noise, patients
from steelyard.preprocess.normalise import CLIP_PERCENTILES
from steelyard.runstore import read_json, write_atomically, write_json
from steelyard.study.model import Model, load_model

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # of 2022: old enough for the runtimes that are about
INPUT, OUTPUT = "images", "probabilities"
AXIAL = "axial: slices towards the head, rows to the back, columns to the patient's left"
RECIPE = (
    "body: per volume and from the first phase alone, voxels above the mean of the intensities clipped to their 0.5th "
    "and 99.5th percentile, holes filled per slice, the largest piece whose voxels share faces",
    "each phase: clipped to the 0.5th and 99.5th percentile of its body voxels, minus their mean, divided by their "
    "standard deviation, both taken after clipping",
    "each slice: onto size × size pixels of spacing_mm, the middle of the body's bounding box in the middle; linear, "
    "smoothed by a triangle of one new pixel where pixels are merged; the volume's minimum outside. Where spacing_mm "
    "is null: native pixels, the middle size × size of the slice",
    "context: the slices before and after become channels, lowest first, the end slices repeated",
    "after the network: probabilities linearly back onto the scan's own pixels, background outside, then the largest",
)


@dataclass(frozen=True)
class ExportedModel:
    """What was written, and how it answered beside torch."""

    file: Path
    sidecar: Path
    agreements: tuple[Agreement, ...]


def export_onnx(run: Path, out: Path) -> ExportedModel:
    """Write the network of a finished run as `out`, and what its images need as a JSON file beside it.

    Input `images` (batch, channel, size, size) float32, prepared; output `probabilities` (batch, class, size, size),
    the softmax. Any batch, one size. The same description stands in the file's metadata. The file is checked, run, and
    compared with torch before it appears; where labels differ in more than a pixel in ten thousand, nothing is written.

    Args:
        run: the run's folder, `runs/<study>/<run>`.
        out: a name that ends in .onnx; only what this wrote is overwritten.

    Raises:
        BadSpec: the extra is not installed, a place that cannot be written, a network that ONNX cannot express.
        BadData: no finished run is there, or it is damaged; or the study's data are at hand and damaged.
        SteelyardError: the exported network answers otherwise than torch.
    """
    _check_installed()
    _check_place(out)  # before anything takes time
    model = load_model(run, device="cpu")
    return write_onnx(model, out, chain(noise(model), patients(model, run)))


def write_onnx(model: Model, out: Path, images: Iterable[Images]) -> ExportedModel:
    """`export_onnx` for a model at hand, compared with torch on `images`."""
    sidecar = _check_place(out)
    network = _Probabilities(model.network.float()).eval()
    about = describe(model)
    graph = _graph(model, network, about)
    agreements: list[Agreement] = []

    def write(temporary: Path) -> None:
        import onnx

        onnx.save_model(graph, str(temporary))
        onnx.checker.check_model(str(temporary), full_check=True)
        agreements.extend(compare_all(network, _session(temporary), images))

    write_atomically(out, write)
    write_json(sidecar, about | {"file": out.name, "agreement_with_torch": as_json(tuple(agreements))})
    return ExportedModel(out, sidecar, tuple(agreements))


def describe(model: Model) -> dict[str, Any]:
    """What whoever runs the network must know: plain numbers, strings, lists and dictionaries."""
    size, context = model.preprocessing.size, model.preprocessing.context
    phases = model.sequences[0].split("+")
    classes: list[dict[str, Any]] = [{"index": 0, "name": "background", "value": 0}]
    for organ in model.label_set.organs:
        classes.append(
            {
                "index": organ.index,
                "name": organ.name,
                "value": organ.source_value,
                "colour": list(organ.colour),
                "concept": None if organ.concept is None else asdict(organ.concept),
            }
        )
    return {
        "steelyard": __version__,
        "study": model.study,
        "run": model.name,
        "network": model.network_title,
        "loss": model.loss_title,
        "weights_sha256": model.weights_hash,
        "sequences": list(model.sequences),
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": ["batch", model.channels, size, size],
            "channels": [
                f"{phases[phase] if phase < len(phases) else f'phase {phase}'}, slice {step:+d}"
                for step in range(-context, context + 1)
                for phase in range(model.phases)
            ],
        },
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", model.label_set.class_count, size, size]},
        "classes": classes,
        "preprocessing": {
            "size": size,
            "spacing_mm": model.preprocessing.spacing_mm,
            "context": context,
            "orientation": AXIAL if model.is_axial else "as the files of the data set store it",
            "clip_percentiles": list(CLIP_PERCENTILES),
            "recipe": list(RECIPE),
        },
        "purpose": "research; not a medical device",
    }


class _Probabilities(nn.Module):
    """The softmax of a network's logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).softmax(1)


def _graph(model: Model, network: nn.Module, about: dict[str, Any]) -> Any:
    """The ONNX model; without the exporter's notes, which hold paths of this machine."""
    size = model.preprocessing.size
    try:
        with _quietly():
            program = torch.onnx.export(
                network,
                (torch.zeros(2, model.channels, size, size),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # whatever a network of the user's own may raise inside torch's exporter
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BadSpec(
            f"network {model.network_title} cannot be exported to ONNX ({reason.strip()}). Use a registered network, "
            "or mend it for torch.export."
        ) from error
    graph = program.model_proto  # type: ignore[union-attr]
    graph.producer_name, graph.producer_version, graph.doc_string = "steelyard", __version__, ""
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    for key, value in about.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    return graph


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def answer(images: np.ndarray) -> np.ndarray:
        return session.run([OUTPUT], {INPUT: images})[0]

    return answer


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadSpec(f"export to ONNX needs {', '.join(missing)}. Install steelyard[onnx].")


def _check_place(out: Path) -> Path:
    """The sidecar's path; both must be free, or be an earlier export's."""
    if out.suffix != ".onnx" or out.is_dir():
        raise BadSpec(f"a file name that ends in .onnx was wanted; came {out}.")
    if blocked := next((parent for parent in out.parents if parent.exists() and not parent.is_dir()), None):
        raise BadSpec(f"{blocked} is a file, where a folder for {out.name} is wanted. Name another place.")
    sidecar = out.with_suffix(".json")
    if (out.exists() or sidecar.exists()) and not _is_ours(sidecar, out):
        taken = out if out.exists() else sidecar
        raise BadSpec(f"{taken} exists and was not written by export-model. Name another file.")
    return sidecar


def _is_ours(sidecar: Path, out: Path) -> bool:
    try:
        content = read_json(sidecar)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "steelyard" in content and content.get("file") == out.name


@contextmanager
def _quietly() -> Iterator[None]:
    """torch's exporter warns of its own inner workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
