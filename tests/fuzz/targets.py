"""What is damaged and who reads it: for each reader, small whole samples and the call that a user's command makes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import gdcm
import numpy as np
import pydicom
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from hand_made_runs import write_run
from mask_files import blocks, describe, label_table, save
from multiframe import write_multiframe
from phantoms import IN_PHASE, SHAPE, organ_labels, pixels_like, write_chaos_patient, write_series
from report.written_card import write_card
from scans import LAYOUTS, knotty_labels, write_scan
from steelyard.labels import CHAOS_MR, LabelSet
from steelyard.volume import Geometry, LabelMap, Volume
from studies import tiny_spec, tiny_study, write_toml
from written_study import LABELS, WrittenRun, block, write_images, write_prediction, write_study

Files = dict[str, bytes]
COMPRESSED = {
    "jpeg2000": JPEG2000Lossless, "jpegls": JPEGLSLossless, "jpeg": JPEGLosslessSV1, "rle": RLELossless,
    "deflated": DeflatedExplicitVRLittleEndian,
}  # fmt: skip
REAL = Path(os.environ.get("STEELYARD_DATA", "/nowhere"))
MOST_BYTES = 600_000  # of a real file: more would make a slow harness, and no other reader
NEVER_FIRST = ("lock",)


@dataclass(frozen=True)
class Target:
    """A kind of file or folder.

    Attributes:
        write: puts whole samples into a folder, each in a folder of its own.
        read: reads one sample, and raises AssertionError when what comes back is not of the right shape.
        share: how often it is tried, beside the others; a slow reader less often.
        real: whole samples of the real data, where there are some.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    share: int = 4
    real: Callable[[Path], object] | None = None

    def samples(self, workplace: Path) -> dict[str, Files]:
        """Every sample by name: path within it → content. The same every time, but for dates: UIDs hang on paths."""
        chance = random.Random(self.name)
        folder = Path("samples")
        with contextlib.chdir(workplace), patch("uuid.uuid4", lambda: UUID(int=chance.getrandbits(128), version=4)):
            self.write(folder)
            if self.real is not None and REAL.is_dir():
                self.real(folder)
            return {sample.name: dict(_files(sample)) for sample in sorted(folder.iterdir())}


def _files(sample: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(sample.rglob("*")):
        if file.is_file() and file.name not in NEVER_FIRST:
            yield str(file.relative_to(sample)), file.read_bytes()


# DICOM images ------------------------------------------------------------------------------------------------------


def _write_dicom(folder: Path) -> None:
    names = [f"{k}.dcm" for k in range(4)]
    pixels = pixels_like(organ_labels()[:4], seed=3)
    uids = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "RescaleSlope": "2", "RescaleIntercept": "-5"}
    write_series(folder / "native", pixels, names=names, **IN_PHASE, **uids)
    write_scan(folder / "scan", LAYOUTS["oblique"])
    large = pixels.repeat(3, axis=1).repeat(3, axis=2)  # OpenJPEG halves an image five times
    for name, syntax in COMPRESSED.items():
        for file in write_series(folder / name, large, names=names, **IN_PHASE):
            _compress(file, syntax)
    write_multiframe(folder / "frames" / "volume.dcm", pixels, RescaleSlope="2", RescaleIntercept="1")
    _compress(write_multiframe(folder / "frames in RLE" / "volume.dcm", pixels), RLELossless)


def _compress(file: Path, syntax: str) -> None:
    data = pydicom.dcmread(file)
    if syntax in (JPEG2000Lossless, JPEGLosslessSV1):
        frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
        if syntax == JPEG2000Lossless:
            codes = [encode_array(frame, bits_stored=16, use_mct=False) for frame in frames]
        else:
            codes = [_jpeg_lossless(file)]
        data.PixelData = encapsulate(codes)
        data["PixelData"].VR, data.file_meta.TransferSyntaxUID = "OB", syntax
    elif syntax == DeflatedExplicitVRLittleEndian:
        data.file_meta.TransferSyntaxUID = syntax
    else:
        data.compress(syntax, generate_instance_uid=False)
    data.save_as(file)


def _jpeg_lossless(file: Path) -> bytes:
    """The code of a single slice, by GDCM, as no other that is installed writes it."""
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(file))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    code = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0).GetByteValue().GetBuffer()
    return code.encode("utf-8", "surrogateescape") if isinstance(code, str) else bytes(code)


def _real_dicom(folder: Path) -> None:
    for k, first in enumerate(sorted(REAL.glob("Train_Sets/MR/*/T2SPIR/DICOM_anon"))[:2]):
        _copied(folder / f"chaos {k}", sorted(first.iterdir())[4:7])
    for case in sorted({file.parent for file in REAL.glob("dicom-cases/**/*") if file.is_file()}):
        files = [file for file in sorted(case.iterdir()) if file.is_file() and not file.name.endswith((".gz", ".json"))]
        small = [file for file in files if file.stat().st_size <= MOST_BYTES]
        if small:
            _copied(folder / f"case {'-'.join(case.parts[-3:])}", small[:4])


def _read_dicom(sample: Path) -> None:
    from steelyard.errors import BadData
    from steelyard.io.dicom_folder import survey
    from steelyard.io.dicom_series import read_headers, read_pixels

    found = survey(sample)
    for one in found.series:
        assert len(one.title.splitlines()) == 1
        assert one.slices > 0
    assert len(found.left_out_line.splitlines()) <= 1
    tries: list[Any] = [sample, *(list(one.files) for one in found.series)]
    problems = []
    for files in tries:
        try:
            volume = read_pixels(read_headers(files))
        except BadData as error:
            problems.append(error)
            continue
        _check_volume(volume)
    if problems:
        raise problems[0]


def _write_chaos(folder: Path) -> None:
    patient = write_chaos_patient(folder / "tree" / "Train_Sets" / "MR", 1)
    shutil.rmtree(patient / "T1DUAL")


def _read_chaos(sample: Path) -> None:
    from steelyard.datasets import DATASETS
    from steelyard.datasets.integrity import check

    check(DATASETS["chaos"](sample)).raise_errors()


# Organs as DICOM, PNG and NIfTI ------------------------------------------------------------------------------------


def _write_seg(folder: Path) -> None:
    from steelyard.io.dicom_seg import write_seg

    for name in ("axial", "oblique"):
        source = write_scan(folder.parent / f"source {name}", LAYOUTS[name])
        labels = LabelMap(knotty_labels(source.geometry.shape), source.geometry, CHAOS_MR)
        (folder / name).mkdir(parents=True)
        write_seg(folder / name / "seg.dcm", labels, source, pseudonym=None)
    compressed = folder / "rle"
    compressed.mkdir()
    data = pydicom.dcmread(folder / "axial" / "seg.dcm")
    data.SegmentationType, data.MaximumFractionalValue = "FRACTIONAL", 1
    pixels = data.pixel_array.astype(np.uint8)
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pixels.tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.save_as(compressed / "seg.dcm")
    _compress(compressed / "seg.dcm", RLELossless)


def _real_seg(folder: Path) -> None:
    for file in [REAL / "dcmqi-seg" / "liver.dcm"]:
        if file.is_file() and file.stat().st_size <= 2 * MOST_BYTES:
            _copied(folder / f"dcmqi {file.stem}", [file], name="seg.dcm")


def _read_seg(sample: Path) -> None:
    from steelyard.io.dicom_seg import read_seg

    found = read_seg(sample / "seg.dcm")
    assert found.labels.shape == found.geometry.shape
    assert found.labels.dtype == np.uint8


def _write_png(folder: Path) -> None:
    greys = CHAOS_MR.source_from_classes(organ_labels())
    for name in ("grey", "one bit"):
        (folder / name).mkdir(parents=True)
    for k in (2, 3):
        Image.fromarray(greys[k]).save(folder / "grey" / f"{k}.png", pnginfo=None)
        Image.fromarray(greys[k] > 0).save(folder / "one bit" / f"{k}.png")


def _read_png(sample: Path) -> None:
    from steelyard.evaluate.mask_files import PngMasks
    from steelyard.io.png_masks import read_masks
    from steelyard.labels import Organ

    only = LabelSet((Organ("organ", 1, 255, (1, 2, 3)),))
    assert all(0 <= value <= 255 for value in PngMasks(sample, SimpleNamespace(files=())).values())  # type: ignore[arg-type]
    masks = read_masks(sorted(sample.glob("*.png")), only if sample.name == "one bit" else CHAOS_MR)
    assert masks.ndim == 3
    assert masks.dtype == np.uint8


def _write_nifti(folder: Path) -> None:
    from steelyard.io.nifti import write_label_map, write_volume

    labels = organ_labels()
    affine = np.array([[0.0, 0.1, 1, -10], [0, 2, -0.1, -20], [3, 0, 0, -30], [0, 0, 0, 1]])
    geometry = Geometry(SHAPE, affine)
    for ending in (".nii", ".nii.gz"):
        write_volume(folder / f"image{ending}" / f"a{ending}", Volume(pixels_like(labels, seed=1), geometry))
        write_label_map(folder / f"labels{ending}" / f"a{ending}", LabelMap(labels, geometry, CHAOS_MR))
    named = blocks(liver=1, spleen=2)
    save(folder / "named" / "a.nii.gz", named, header=label_table({1: "liver", 2: "spleen"}))
    zeros = np.zeros((100, 100, 100), np.uint8)  # 1 MB in 1 kB: a liar may claim more
    zeros[0, 0, 0] = 1
    save(folder / "empty" / "a.nii.gz", zeros)


def _real_nifti(folder: Path) -> None:
    _copied(folder / "kidneysegm", [REAL / "kidneysegm" / "GT.nii"], name="a.nii")


def _read_nifti(sample: Path) -> None:
    from steelyard.errors import BadData
    from steelyard.io.nifti import read_label_map, read_volume
    from steelyard.io.nifti_labels import read_label_names
    from steelyard.views.shown_cases import label_map_of_file

    file = sample / ("a.nii.gz" if (sample / "a.nii.gz").exists() else "a.nii")
    problems = []
    as_labels = () if sample.name.startswith("image") else (lambda f: read_label_map(f, CHAOS_MR), label_map_of_file)
    for read in (read_volume, *as_labels):
        try:
            found = read(file)
        except BadData as error:
            problems.append(error)
            continue
        if isinstance(found, Volume):
            _check_volume(found)
        else:
            assert found.labels.shape == found.geometry.shape
    try:
        assert all(isinstance(name, str) for name in read_label_names(file).values())
    except BadData as error:
        problems.append(error)
    if problems:
        raise problems[0]


# What users write by hand ------------------------------------------------------------------------------------------

LABELS_TOML = """unlisted = "background"
[organs]
liver = 1
kidneys = [2, 3]
spleen = "spleen"
[prediction]
liver = 5
"""


def _write_toml(folder: Path) -> None:
    study = tiny_study(Path("data"), Path("runs"))
    for name, more in {
        "plain": {},
        "full": {
            "data": {"options": {"check": True}},
            "preprocess": {"spacing_mm": 1.5, "context": 1},
            "grid": {"loss": ["iou11", {"name": "tversky", "fp_weight": 0.3}], "seed": [1, 2]},
            "compare": {"baseline": "iou11", "organs": ["liver"]},
            "crf": {"iterations": 3, "smoothness_mm": 2.5},
            "calibrate": {"values": [0.3, 0.5], "loss": "tversky", "objective": {"name": "dice"}},
        },
    }.items():
        (folder / name).mkdir(parents=True)
        write_toml(folder / name / "study.toml", {**study, **{k: {**study.get(k, {}), **v} for k, v in more.items()}})
    (folder / "labels").mkdir()
    (folder / "labels" / "labels.toml").write_text(LABELS_TOML)


def _read_toml(sample: Path) -> None:
    from steelyard.evaluate.label_sets import read_labels
    from steelyard.study.spec import read_spec

    if sample.name == "labels":
        assert read_labels(str(sample / "labels.toml")).organs
    else:
        assert read_spec(sample / "study.toml").grid.loss


def _write_nnunet(folder: Path) -> None:
    labels = blocks(liver=1, spleen=2)
    for name in ("one", "two"):
        root = describe(folder / name, {"background": 0, "liver": 1, "spleen": 2})
        save(root / "imagesTr" / "a_0000.nii.gz", (labels * 40 + 7).astype(np.float32))
        save(root / "labelsTr" / "a.nii.gz", labels)


def _read_nnunet(sample: Path) -> None:
    from steelyard.datasets import DATASETS
    from steelyard.datasets.integrity import check
    from steelyard.evaluate.value_names import value_names

    value_names(sample / "labelsTr")
    check(DATASETS["nnunet"](sample)).raise_errors()


# What Steelyard wrote ----------------------------------------------------------------------------------------------


def _write_run(folder: Path) -> None:
    for name in ("by hand", "with context"):
        preprocess = {"context": 1} if name == "with context" else {}
        write_run(folder / name / "run", preprocess=preprocess, crf={"iterations": 2})


def _read_run(sample: Path) -> None:
    from steelyard.study.model import load_model

    model = load_model(sample / "run", device="cpu")
    assert model.channels >= model.phases
    image = Volume(np.ones((2, 20, 20), np.float32), Geometry((2, 20, 20), np.eye(4)))
    if model.phases == 1 and model.preprocessing.size < 200:
        assert model.probabilities(image).shape == (model.label_set.class_count, 2, 20, 20)


def _study_runs() -> list[WrittenRun]:
    values = {"p1_t1_in": {"liver": 0.8, "left_kidney": 0.4}, "p2_t1_in": {"liver": 0.7, "left_kidney": None}}
    better = {"p1_t1_in": {"liver": 0.9, "left_kidney": 0.5}, "p2_t1_in": {"liver": 0.75, "left_kidney": 0.3}}
    pooled = {"liver": 0.75, "left_kidney": 0.4}
    return [
        WrittenRun("first", values, pooled, fold=0),
        WrittenRun("second", better, pooled, fold=0),
        WrittenRun("second", better, pooled, fold=1, state="failed", reason="no memory"),
    ]


def _write_study(folder: Path) -> None:
    for name in ("study", "study again"):
        runs = _study_runs()
        write_study(folder / name, runs, spec=tiny_spec(Path("data"), Path("runs")).model_dump(mode="json"))
        for case_id in runs[0].cases:
            write_images(folder / name, case_id, block(slice(0, 2), slice(0, 3)))
            for run in runs[:2]:
                write_prediction(folder / name, run, case_id, block(slice(0, 2), slice(1, 4)))
        beat = {
            "epoch": 1,
            "epochs": 3,
            "seconds_per_epoch": 2.0,
            "host": "x",
            "pid": 7,
            "updated": "2026-01-01T00:00:00+00:00",
        }
        (folder / name / runs[2].name / "progress.json").write_text(json.dumps(beat))


def _read_study(sample: Path) -> None:
    from rich.console import Console

    from steelyard.evaluate.value_names import value_names
    from steelyard.report.read import read_study
    from steelyard.serve.store import Store
    from steelyard.study.status import render, study_status
    from steelyard.views.shown_cases import cases_of_run

    with Path(os.devnull).open("w") as nowhere:
        console = Console(markup=False, emoji=False, file=nowhere)
        found = Store(sample.parent).studies()
        assert all(len(one.reason.splitlines()) <= 1 for one in found)

        def status() -> None:
            console.print(render(study_status(sample)))

        def tables() -> None:
            study = read_study(sample)
            assert (study.scores.height, study.counts.height, study.history.height) > (-1, -1, -1)
            assert all(isinstance(run.manifest, dict) for run in study.runs)

        def cases() -> None:
            for case in cases_of_run(sample):
                assert case.predictions

        def names() -> None:
            for folder in sorted(sample.glob("*/predictions")):
                value_names(folder)

        _all_of(status, tables, cases, names)


def _read_report(sample: Path) -> None:
    from steelyard.report.write import write_report
    from steelyard.study.compare import write_comparisons
    from steelyard.study.crf_effect import write_crf_effect

    write_comparisons(sample)
    write_crf_effect(sample)
    page = write_report(sample)
    assert page.read_text().startswith("<!doctype html>")


def _write_card(folder: Path) -> None:
    for name in ("card", "card again"):
        (folder / name).mkdir(parents=True)
        write_card(folder / name)
        write_run(folder / name / "final" / "net-tversky-f0-s1-0a1b2c3d", label_set=LABELS, steps=[0.1, 0.2])


def _read_card(sample: Path) -> None:
    from steelyard.calibrate.read_card import read_card
    from steelyard.export.recipe import read_recipe
    from steelyard.inference.models import load_models

    file = sample / "card.json"

    def known() -> None:
        card = read_card(file)
        assert isinstance(card["loss"]["name"], str)

    def recipe() -> None:
        assert read_recipe(str(file)).loss is not None

    _all_of(known, recipe, lambda: load_models([file], device="cpu"))


def _read_card_page(sample: Path) -> None:
    from steelyard.report.card_page import write_card_page

    assert write_card_page(sample / "card.json").is_file()


PREDICTION_RUN = {"models": [{"loss": "dice"}], "organs": ["liver"], "offsets": None, "crf": None, "pseudonym": None}


def _write_prediction(folder: Path) -> None:
    from steelyard.io.nifti import write_label_map

    case = {
        "name": "p1", "place": "p1", "sequence": "t1_in", "status": "done", "reason": "", "input_sha256": "0" * 64,
        "formats": ["nifti"], "seconds": 1.5,
        "volumes": [{"organ": "liver", "ml": 12.5, "voxels": 1250, "flag": ""}],
    }  # fmt: skip
    for name in ("out", "out again"):
        (folder / name).mkdir(parents=True)
        content = {"schema": 1, "kind": "prediction", **PREDICTION_RUN, "cases": [case]}
        (folder / name / "run.json").write_text(json.dumps(content))
        labels = organ_labels(SHAPE)
        labels[labels > 1] = 0
        only = LabelSet(CHAOS_MR.organs[:1])
        write_label_map(folder / name / "nifti" / "p1.nii.gz", LabelMap(labels, Geometry(SHAPE, np.eye(4)), only))


def _read_prediction(sample: Path) -> None:
    from steelyard.inference.record import earlier
    from steelyard.views.predicted_cases import cases_of_prediction, is_prediction

    def records() -> None:
        for name, record in earlier(sample, PREDICTION_RUN).items():
            assert record.name == name
            assert record.is_done in (True, False)

    def cases() -> None:
        if is_prediction(sample):
            assert all(case.predictions for case in cases_of_prediction(sample))

    _all_of(records, cases)


def _write_states(folder: Path) -> None:
    import torch

    from steelyard.checkpoint import TrainingState, save_state
    from steelyard.io.probabilities import write_probabilities
    from steelyard.preprocess.cache import Preprocessing, prepare_cached
    from steelyard.volume import Case

    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for name in ("state", "state again"):
        history = [{"epoch": 1, "quantity": "training_loss", "organ": None, "value": 0.5}]
        save_state(
            folder / name / "checkpoint.pt", TrainingState(1, network.state_dict(), optimiser.state_dict(), history)
        )
        write_probabilities(folder / name / "case.npz", np.full((2, 3, 4, 5), 0.5))
        image = Volume(pixels_like(organ_labels(), seed=1).astype(np.float32), Geometry(SHAPE, np.eye(4)))
        case = Case("c", "p", "t1_in", image, None)
        prepare_cached(folder / name / "cache", "c", "0" * 12, Preprocessing(size=32), lambda case=case: case)


def _read_states(sample: Path) -> None:
    from steelyard.checkpoint import load_state
    from steelyard.io.probabilities import read_probabilities
    from steelyard.preprocess.cache import Preprocessing, prepare_cached
    from steelyard.volume import Case

    def state() -> None:
        found = load_state(sample / "checkpoint.pt")
        assert found is None or isinstance(found.epoch, int)

    def cached() -> None:
        image = Volume(pixels_like(organ_labels(), seed=1).astype(np.float32), Geometry(SHAPE, np.eye(4)))
        made = prepare_cached(
            sample / "cache", "c", "0" * 12, Preprocessing(size=32), lambda: Case("c", "p", "t1_in", image, None)
        )
        assert made.images.shape == (SHAPE[0], 1, 32, 32)

    _all_of(state, lambda: read_probabilities(sample / "case.npz"), cached)


TARGETS = {
    target.name: target
    for target in (
        Target("dicom", _write_dicom, _read_dicom, share=12, real=_real_dicom),
        Target("chaos", _write_chaos, _read_chaos, share=3),
        Target("seg", _write_seg, _read_seg, share=8, real=_real_seg),
        Target("png", _write_png, _read_png, share=6),
        Target("nifti", _write_nifti, _read_nifti, share=8, real=_real_nifti),
        Target("toml", _write_toml, _read_toml, share=8),
        Target("nnunet", _write_nnunet, _read_nnunet, share=4),
        Target("run", _write_run, _read_run, share=8),
        Target("study", _write_study, _read_study, share=8),
        Target("report", _write_study, _read_report, share=1),
        Target("card", _write_card, _read_card, share=6),
        Target("card page", _write_card, _read_card_page, share=1),
        Target("prediction", _write_prediction, _read_prediction, share=4),
        Target("states", _write_states, _read_states, share=5),
    )
}


def _all_of(*reads: Callable[[], object]) -> None:
    """Every reader gets its turn; the first line that one ends with is the sample's."""
    from steelyard.errors import SteelyardError

    problems = []
    for read in reads:
        try:
            read()
        except SteelyardError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _check_volume(volume: Volume) -> None:
    assert volume.intensities.dtype == np.float32
    assert volume.intensities.shape == volume.geometry.shape
    assert np.isfinite(volume.geometry.affine).all()


def _copied(folder: Path, files: list[Path], *, name: str | None = None) -> None:
    if not all(file.is_file() for file in files):
        return
    folder.mkdir(parents=True)
    for file in files:
        kept = name or (file.name if file.suffix else f"{file.name}.dcm")
        shutil.copy(file, folder / kept)
