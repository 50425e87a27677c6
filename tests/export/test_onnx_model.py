"""Networks as ONNX files that answer as torch does, and say what they are."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from hand_made_runs import StepNetwork, bright, write_run
from phantoms import organ_labels
from steelyard import cli
from steelyard.errors import BadData, BadSpec, SteelyardError
from steelyard.export import onnx_model
from steelyard.export.onnx_agreement import Agreement, compare, compare_all, noise
from steelyard.export.onnx_model import export_onnx, write_onnx
from steelyard.networks import NETWORKS
from steelyard.networks.build import build_network
from steelyard.preprocess.cache import Preprocessing, prepare, with_context
from steelyard.runstore import RunFolder
from steelyard.study.model import Model, load_model
from steelyard.volume import Case, Geometry, Volume

QUICK = ("unet_matlab", "unet_resnet18")  # the others take a few seconds each to be written
SIZE = 40  # a multiple of no network's grid: padding and cropping must be in the file, too

pytestmark = pytest.mark.usefixtures("unchecked_types")  # torch's exporter hands in symbols where numbers are checked


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose labels are known by hand."""
    return write_run(tmp_path_factory.mktemp("by-hand") / "run", sharpness=900.0, preprocess={"size": 32})


@pytest.fixture
def model_of(by_hand: Path) -> Callable[..., Model]:
    """The run's model with another network."""

    def made(network: nn.Module, *, channels: int = 1, size: int = SIZE, context: int = 0) -> Model:
        return replace(
            load_model(by_hand, device="cpu"),
            network=network.eval(),
            network_title=type(network).__name__,
            preprocessing=Preprocessing(size=size, context=context),
            phases=channels // (2 * context + 1),
        )

    return made


def answers(file: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(NETWORKS)]
)
def test_every_registered_network_answers_as_in_torch(name: str, model_of: Callable[..., Model], tmp_path: Path):
    model = model_of(build_network(name, 2, 5, seed=3), channels=2)
    exported = write_onnx(model, tmp_path / "net.onnx", noise(model))
    assert [(found.slices, found.pixels) for found in exported.agreements] == [(1, SIZE**2), (3, 3 * SIZE**2)]
    images = np.random.default_rng(8).normal(0, 2, (2, 2, SIZE, SIZE)).astype(np.float32)  # a third size of a batch
    with torch.inference_mode():
        wanted = model.network(torch.from_numpy(images)).double().softmax(1).numpy()
    came = answers(tmp_path / "net.onnx", images)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, wanted, atol=2e-4)
    assert (came.argmax(1) == wanted.argmax(1)).mean() > 0.9999


@pytest.fixture(scope="module")
def exported(by_hand: Path) -> tuple[RunFolder, Path]:
    """The run and its file."""
    out = by_hand.parent / "deep" / "net.onnx"
    export_onnx(by_hand, out)
    return RunFolder(by_hand), out


def test_the_file_tells_what_its_images_need(exported: tuple[RunFolder, Path]):
    run, out = exported
    model = onnx.load(out)
    assert model.producer_name == "steelyard"
    told = {entry.key: entry.value for entry in model.metadata_props}
    record = json.loads(run.manifest.read_text())
    assert (told["run"], told["study"], told["loss"]) == (record["run"], record["study"], record["loss"])
    assert told["weights_sha256"] == hashlib.sha256(run.weights.read_bytes()).hexdigest()
    assert json.loads(told["sequences"]) == ["t1_in"]
    assert json.loads(told["input"]) == {
        "name": "images",
        "type": "float32",
        "shape": ["batch", 1, 32, 32],
        "channels": ["t1_in, slice +0"],
    }
    classes = json.loads(told["classes"])
    assert [(c["index"], c["name"], c["value"]) for c in classes] == [
        (0, "background", 0),
        (1, "liver", 63),
        (2, "right_kidney", 126),
        (3, "left_kidney", 189),
        (4, "spleen", 252),
    ]
    assert classes[4]["colour"] == [86, 180, 233]
    assert classes[1]["concept"] == {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    preprocessing = json.loads(told["preprocessing"])
    assert (preprocessing["size"], preprocessing["spacing_mm"], preprocessing["context"]) == (32, None, 0)
    assert preprocessing["clip_percentiles"] == [0.5, 99.5]
    assert preprocessing["orientation"].startswith("axial: slices towards the head")
    (entry,), (result,) = model.graph.input, model.graph.output
    for value, name, channels in ((entry, "images", 1), (result, "probabilities", 5)):
        batch, *rest = value.type.tensor_type.shape.dim
        assert value.name == name
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert batch.dim_param == "batch"
        assert [size.dim_value for size in rest] == [channels, 32, 32]


def test_the_sidecar_says_the_same_and_how_torch_agreed(exported: tuple[RunFolder, Path]):
    _, out = exported
    told = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert {key: value if isinstance(value, str) else json.dumps(value) for key, value in sidecar.items()} == told | {
        "file": "net.onnx",
        "agreement_with_torch": json.dumps(sidecar["agreement_with_torch"]),
    }
    agreed = sidecar["agreement_with_torch"]
    assert [found["images"] for found in agreed] == [
        "noise, batch of 1",
        "noise, batch of 3",
        "an invented patient (the study's data are not at hand)",
    ]
    assert [found["slices"] for found in agreed] == [1, 3, 8]
    assert all(found["different"] <= found["pixels"] / 10_000 for found in agreed)


def test_no_path_of_this_machine_is_in_the_file(exported: tuple[RunFolder, Path]):
    content = exported[1].read_bytes()
    for trace in (b"site-packages", b".py", str(Path.home()).encode(), b"/tmp"):
        assert trace not in content


def test_the_labels_are_those_that_follow_from_the_pixels_by_hand(exported: tuple[RunFolder, Path]):
    _, out = exported
    pixels = bright().astype(np.float64)
    body = pixels > 0
    images = ((pixels - pixels[body].mean()) / pixels[body].std()).astype(np.float32)
    padded = np.full((6, 32, 32), images.min(), np.float32)
    middle = (slice(None), slice(4, 28), slice(6, 26))  # 24 × 20 pixels
    padded[middle] = images
    assert np.array_equal(answers(out, padded[:, None]).argmax(1)[middle], organ_labels())


def test_what_is_not_a_run_or_not_a_place_is_one_line(exported: tuple[RunFolder, Path], tmp_path: Path):
    run = exported[0].path
    with pytest.raises(BadData, match=r"there is no .*nowhere"):
        export_onnx(tmp_path / "nowhere", tmp_path / "a.onnx")
    with pytest.raises(BadSpec, match=r"ends in \.onnx was wanted"):
        export_onnx(run, tmp_path / "net.pt")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadSpec, match="is a file, where a folder"):
        export_onnx(run, tmp_path / "file" / "net.onnx")
    (tmp_path / "other.onnx").write_text("mine")
    with pytest.raises(BadSpec, match="was not written by export-model"):
        export_onnx(run, tmp_path / "other.onnx")
    (tmp_path / "net.json").write_text('{"mine": 1}')
    with pytest.raises(BadSpec, match=r"net\.json exists and was not written"):
        export_onnx(run, tmp_path / "net.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other.onnx", "net.json"}
    assert (tmp_path / "other.onnx").read_text() == "mine"


@pytest.fixture(scope="module")
def documented() -> str:
    """The Python of the documentation's section on ONNX."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```python\n(.*?)```", text.split("\n## A network as ONNX\n")[1], flags=re.DOTALL))


def test_the_documented_lines_run_without_torch_and_steelyard(
    exported: tuple[RunFolder, Path], documented: str, tmp_path: Path
):
    shutil.copy(exported[1], tmp_path / "net.onnx")
    np.save(tmp_path / "t1_in.npy", bright())
    alone = "import sys; sys.modules['torch'] = sys.modules['steelyard'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", alone + documented + "\nnp.save('labels.npy', labels)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "labels.npy")[:, 4:28, 6:26], organ_labels())
    assert "liver 192 pixels" in done.stdout


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(size=40),
        Preprocessing(size=32, spacing_mm=2.3, context=1),
        Preprocessing(size=64, spacing_mm=0.8, context=2),
    ],
)
def test_the_documented_preparation_is_steelyards_own(documented: str, preprocessing: Preprocessing):
    random = np.random.default_rng(4)
    pixels = bright().astype(np.int16) + random.integers(0, 30, bright().shape, np.int16)
    affine = np.diag([-3.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]]  # 3, 2 and 1 mm between slices, rows and columns
    image = Volume(pixels, Geometry(pixels.shape, affine))
    settings = {
        "size": preprocessing.size,
        "spacing_mm": preprocessing.spacing_mm,
        "context": preprocessing.context,
        "clip_percentiles": [0.5, 99.5],
    }
    names: dict[str, Any] = {}
    exec(documented.split("import json")[0], names)
    ours = with_context(prepare(Case("x", "x", "t1_in", image, None), preprocessing).images, preprocessing.context)
    came = names["prepare"](pixels, image.geometry.spacing_mm[1:], settings)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, ours, atol=2e-5)


class Switching(nn.Module):
    """Answers otherwise while it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.convolution(images)
        return logits.flip(1) if torch.compiler.is_exporting() else logits


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 0:  # no graph holds what depends on the pixels
            return images.expand(-1, 5, -1, -1)
        return -images.expand(-1, 5, -1, -1)


def test_a_file_that_answers_otherwise_is_never_left(model_of: Callable[..., Model], tmp_path: Path):
    model = model_of(Switching(), size=16)
    with pytest.raises(SteelyardError, match="gives other labels than torch: noise, batch of 1") as caught:
        write_onnx(model, tmp_path / "net.onnx", noise(model))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_onnx_cannot_express_is_one_line(model_of: Callable[..., Model], tmp_path: Path):
    model = model_of(Branching(), size=16)
    with pytest.raises(BadSpec, match="network Branching cannot be exported to ONNX") as caught:
        write_onnx(model, tmp_path / "net.onnx", noise(model))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def probabilities(*labels: int, second: float = 0.0) -> np.ndarray:
    """(1, class, 1, pixel): the label's probability is 1 − second, the next class's the rest."""
    found = np.zeros((1, 3, 1, len(labels)), np.float32)
    for pixel, label in enumerate(labels):
        found[0, label, 0, pixel] = 1 - second
        found[0, (label + 1) % 3, 0, pixel] += second
    return found


def fixed(answer: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda slices: answer


def test_agreement_is_the_share_of_equal_labels_and_how_near_the_others_were():
    images = [np.zeros((1, 1, 1, 4), np.float32)]
    ours, theirs = probabilities(0, 1, 2, 2), probabilities(0, 1, 2, 0)
    assert compare(fixed(ours), fixed(theirs), images, "x") == Agreement("x", 1, 4, 1, 1.0, 1.0)
    near = compare(fixed(probabilities(0, 1, second=0.49)), fixed(probabilities(0, 2, second=0.4)), images, "x")
    assert (near.pixels, near.different, near.share) == (2, 1, 0.5)
    assert near.largest_gap == pytest.approx(0.02)  # 0.51 and 0.49
    assert near.largest_difference == pytest.approx(0.51)  # of class 1, where 0 came; 0.6 and 0.49 of class 2


def test_one_pixel_in_ten_thousand_is_the_limit():
    images = np.zeros((1, 1, 1, 1), np.float32)
    wanted = np.zeros((1, 2, 100, 100), np.float32)
    wanted[:, 0] = 1
    one, two = wanted.copy(), wanted.copy()
    one[0, :, 0, 0] = two[0, :, 0, 0] = two[0, :, 5, 5] = (0, 1)
    network = nn.Identity()
    network.forward = lambda slices: torch.from_numpy(wanted)  # type: ignore[method-assign]
    (found,) = compare_all(network, fixed(one), [("x", [images])])
    assert found.different == 1
    with pytest.raises(SteelyardError, match=r"99\.980000% of 10000 pixels"):
        compare_all(network, fixed(two), [("x", [images])])


def test_cases_are_asked_a_few_slices_at_a_time_and_add_up():
    asked: list[int] = []

    def ask(slices: np.ndarray) -> np.ndarray:
        asked.append(len(slices))
        return np.broadcast_to(slices + np.array([0, 1], np.float32)[:, None, None], (len(slices), 2, 2, 3))

    wrong = lambda slices: ask(slices) * np.where(slices > 6, -1, 1)  # noqa: E731
    cases = [np.zeros((35, 1, 2, 3), np.float32), np.arange(7 * 6, dtype=np.float32).reshape(7, 1, 2, 3) / 6]
    found = compare(ask, wrong, iter(cases), "x")
    assert asked == [16, 16, 16, 16, 3, 3, 7, 7]
    assert (found.slices, found.pixels, found.different) == (42, 42 * 6, 5)  # 37 … 41 are above 36, which is 6


@pytest.mark.parametrize("answer", [np.zeros((1, 3, 1, 5), np.float32), np.full((1, 3, 1, 4), np.nan, np.float32)])
def test_another_shape_or_no_numbers_are_no_answer(answer: np.ndarray):
    with pytest.raises(SteelyardError, match="not finite"):
        compare(fixed(probabilities(0, 1, 2, 2)), fixed(answer), [np.zeros((1, 1, 1, 4), np.float32)], "x")


def test_neighbouring_slices_and_phases_are_named_in_the_order_of_the_channels(model_of: Callable[..., Model]):
    network = StepNetwork(6, 5)
    model = model_of(network, channels=6, context=1)
    told = onnx_model.describe(model)["input"]
    assert told["shape"] == ["batch", 6, SIZE, SIZE]
    assert told["channels"] == [
        f"{phase}, slice {step}" for step in ("-1", "+0", "+1") for phase in ("t1_in", "phase 1")
    ]


def test_the_command_replaces_an_earlier_export_and_tells(
    exported: tuple[RunFolder, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run, out = exported
    before = out.read_bytes()
    out.write_bytes(b"damaged since")
    monkeypatch.setattr("sys.argv", ["steelyard", "export-model", str(run.path), "--to", "onnx", str(out)])
    cli.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("agreement: noise, batch of 1, 1 slices: 100.000000% of 1024 pixels have the same label")
    assert said[-2:] == [f"written: {out}", f"written: {out.with_suffix('.json')}"]
    assert out.read_bytes() == before


def test_without_the_extra_it_is_named(
    exported: tuple[RunFolder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name in ("onnx", "onnxruntime") else object()
    )
    with pytest.raises(BadSpec, match=r"needs onnx, onnxruntime\. Install steelyard\[onnx\]"):
        export_onnx(exported[0].path, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
def test_the_networks_of_a_study_are_compared_on_its_own_patients(chaos_root: Path, tmp_path: Path):
    del chaos_root
    run = write_run(tmp_path / "run", sharpness=900.0, preprocess={"size": 32})
    record = json.loads(RunFolder(run).manifest.read_text())
    record["spec"]["data"] |= {"dataset": "chaos", "root": "$STEELYARD_DATA/Train_Sets"}
    record["manifest"]["split"] = {"train": [], "test": ["mr-01"]}
    RunFolder(run).manifest.write_text(json.dumps(record))
    found = export_onnx(run, tmp_path / "net.onnx").agreements[-1]
    assert found.images == "held-out cases of the study, 1 in all"
    assert found.slices > 20
    assert load_model(run).sequences == ("t1_in",)
