"""From the DICOM files of one volume to a DICOM segmentation and volumes, beside the network alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.e1_reading import new_folders
from benchmarks.scenes import patient_id, phantoms, scenes_folder, trained_run

if TYPE_CHECKING:
    import numpy as np

SIZE, SLICES = 256, 36

LINE = Line(
    f"predicting one volume of {SLICES} × {SIZE} × {SIZE}, DICOM in, DICOM SEG, volumes and picture out, after start",
    "ONNX Runtime with the exported network alone (float32): the network's share of our time",
    wanted=0.7,
    of=(SLICES, "slices"),
    repeats=7,
    needs=("onnx", "onnxscript", "onnxruntime"),
)


def ours() -> Work:
    """As `steelyard predict` with the model loaded: a new output folder every time."""
    from rich.console import Console

    from steelyard.inference.batch import Prediction, predict_batch
    from steelyard.inference.inputs import find_inputs
    from steelyard.inference.models import load_models

    ensemble = load_models([trained_run(size=SIZE, slices=SLICES)], device="cpu")
    places = new_folders()

    def work() -> None:
        inputs = find_inputs(_patient(), ensemble.first)
        wanted = Prediction(ensemble, formats=("dicom-seg",))
        records = predict_batch(inputs, next(places), wanted, console=Console(quiet=True))
        if not all(record.is_done for record in records):
            raise RuntimeError(records[0].reason)

    return work


def peer() -> Work:
    """The session as ONNX Runtime's guide opens it, with both threads; 16 slices at a time, as ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = LINE.threads
    session = onnxruntime.InferenceSession(str(_exported()), options, providers=["CPUExecutionProvider"])
    images = _prepared()

    def work() -> list:
        return [session.run(None, {"images": images[k : k + 16]})[0] for k in range(0, len(images), 16)]

    return work


def same() -> None:
    """Labels of both; ours are in the network's shorter format where the processor has one, so few may differ."""
    import numpy as np
    import torch

    from steelyard.inference.models import load_models
    from steelyard.predict import predict_classes

    theirs = np.concatenate(list(peer()())).argmax(1)
    model = load_models([trained_run(size=SIZE, slices=SLICES)], device="cpu").first
    own = predict_classes(model.network, torch.from_numpy(_prepared()), precision=model.precision).numpy()
    if (share := float((own != theirs).mean())) > 0.01:
        raise AssertionError(f"{share:.2%} of the pixels get another label")


def limit() -> Limit:
    """Our own network alone."""
    seconds, said = _network_alone()
    return Limit(seconds, said)


def notes() -> list[str]:
    """Where the time goes, by Python's profiler."""
    import cProfile
    import pstats
    import time

    work = ours()
    work()
    started = time.perf_counter()
    work()
    whole = time.perf_counter() - started
    alone, said = _network_alone()
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stages = {"predict_scan": "probabilities and decision", "write_outputs": "SEG", "write_preview": "picture"}
    found = {}
    for (_, _, function), (_, _, _, seconds, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if function in stages:
            found[function] = max(found.get(function, 0.0), seconds)
    parts = ", ".join(f"{stages[name]} {1e3 * seconds:.0f} ms" for name, seconds in found.items())
    return [f"our own network ({said}) takes {alone / whole:.0%} of {whole:.2f} s; under the profiler: {parts}"]


def _network_alone() -> tuple[float, str]:
    import statistics
    import time

    import torch

    from steelyard.inference.models import load_models
    from steelyard.predict import predict_logits

    model = load_models([trained_run(size=SIZE, slices=SLICES)], device="cpu").first
    images, times = torch.from_numpy(_prepared()), []
    for _ in range(5):
        started = time.perf_counter()
        predict_logits(model.network, images, precision=model.precision)
        times.append(time.perf_counter() - started)
    return statistics.median(times), f"torch, {model.precision}, {1e3 * statistics.median(times):.0f} ms"


def _patient() -> Path:
    return phantoms(patients=2, size=SIZE, slices=SLICES) / "Train_Sets" / "MR" / "1" / "T1DUAL" / "DICOM_anon"


def _prepared() -> np.ndarray:
    from steelyard.datasets import CaseKey
    from steelyard.datasets.chaos import ChaosDataset
    from steelyard.preprocess.cache import Preprocessing, prepare

    case = ChaosDataset(phantoms(patients=2, size=SIZE, slices=SLICES)).read(CaseKey(patient_id(1), "t1_in"))
    return prepare(case, Preprocessing(size=SIZE)).images


def _exported() -> Path:
    from steelyard.export.onnx_model import export_onnx

    run = trained_run(size=SIZE, slices=SLICES)
    place = scenes_folder() / f"{run.name}.onnx"
    if not place.exists():
        export_onnx(run, place)
    return place
