"""Every line of the benchmarks: it has all its parts, says what it wants, and declares what it needs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from benchmarks.__main__ import chosen_lines
from benchmarks.line import Line, line_names, missing, module_of

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
PEERS = {  # packages that only peers use
    "batchgeneratorsv2",
    "medpy",
    "monai",
    "nnunetv2",
    "onnx",
    "onnxruntime",
    "segmentation_models_pytorch",
    "surface_distance",
    "torchio",
}


@pytest.mark.parametrize("name", line_names())
def test_a_line_has_all_its_parts_and_wants_something(name: str):
    module = module_of(name)
    for part in ("ours", "peer", "same", "limit"):
        assert callable(getattr(module, part)), part
    line = module.LINE
    assert any(w is not None for w in (line.wanted, line.wanted_memory, line.wanted_mib, line.wanted_seconds))
    assert line.measures_memory or (line.wanted_memory is None and line.wanted_mib is None)
    assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("name", line_names())
def test_a_line_declares_the_packages_variables_and_devices_that_it_uses(name: str):
    used = _names_in(FOLDER / "lines" / f"{name}.py") | _imported_from_shared_files(name)
    assert used <= set(module_of(name).LINE.needs)


def test_what_is_missing_is_told(monkeypatch):
    line = Line("a", "b", wanted=1.0, needs=("STEELYARD_NOT_THERE", "numpy", "no_such_package_at_all"))
    monkeypatch.delenv("STEELYARD_NOT_THERE", raising=False)
    assert missing(line) == ["STEELYARD_NOT_THERE", "no_such_package_at_all"]
    monkeypatch.setenv("STEELYARD_NOT_THERE", "/somewhere")
    assert missing(line) == ["no_such_package_at_all"]


@pytest.mark.parametrize(("fastest", "lacking"), [("fp32", ["bf16"]), ("bf16", [])])
def test_a_processor_without_bf16_lacks_it(monkeypatch, fastest, lacking):
    monkeypatch.setattr("steelyard.precision.fastest_precision", lambda device: fastest)
    assert missing(Line("a", "b", wanted=1.0, needs=("bf16",))) == lacking


def test_lines_are_chosen_by_the_beginnings_of_their_names():
    known = line_names()
    assert chosen_lines([]) == known
    assert chosen_lines(["a1", "b"]) == [name for name in known if name.startswith(("a1", "b"))]
    with pytest.raises(SystemExit, match="no line is named zz"):
        chosen_lines(["a1", "zz"])


def test_losses_that_differ_in_gradient_or_value_are_found_out():
    from benchmarks.loss_sides import check_same

    from steelyard.losses import IoULoss

    def by_hand(logits, target):
        inside = torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
        p = logits.softmax(1)
        tp, fp, fn = (x.sum((0, 2, 3)) for x in (p * inside, p * (1 - inside), (1 - p) * inside))
        return 1 - (tp / (tp + 0.5 * fp + 1.5 * fn)).mean()

    check_same(IoULoss(fp_weight=0.5, fn_weight=1.5), by_hand, (2, 3, 16, 16))
    check_same(IoULoss(fp_weight=0.5, fn_weight=1.5), lambda z, t: by_hand(z, t) - 7, (2, 3, 16, 16))
    with pytest.raises(AssertionError, match="gradients differ"):
        check_same(IoULoss(fp_weight=1.5, fn_weight=0.5), by_hand, (2, 3, 16, 16))
    with pytest.raises(AssertionError, match="the losses change by"):
        check_same(lambda z, t: by_hand(z, t) + (z.detach() ** 2).mean(), by_hand, (2, 3, 16, 16))


def test_loaders_that_move_slices_otherwise_or_images_and_labels_apart_are_found_out():
    from benchmarks.loader_sides import BATCH, check_same_batches

    from steelyard.batches.affine import RandomAffine
    from steelyard.batches.order import Batches
    from steelyard.batches.slices import SliceSet

    labels = torch.zeros(4 * BATCH, 64, 64, dtype=torch.uint8)
    labels[:, 20:44, 10:30] = 2
    held = SliceSet(torch.zeros(4 * BATCH, 1, 64, 64), labels)

    def moving(affine, *, seed=2):
        return lambda one: Batches(one, batch_size=BATCH, seed=seed, augmentation=affine).epoch(0)

    def apart(one):
        pairs = zip(moving(RandomAffine())(one), moving(RandomAffine(), seed=3)(one), strict=True)
        return ((image, label) for (image, _), (_, label) in pairs)

    check_same_batches(moving(RandomAffine()), held)
    for affine in (None, RandomAffine(translate_px=20, rotate_deg=20), RandomAffine(translate_px=3, rotate_deg=3)):
        with pytest.raises(AssertionError, match="moving slices changes"):
            check_same_batches(moving(affine), held)
    with pytest.raises(AssertionError, match="images and labels lie apart"):
        check_same_batches(apart, held)
    with pytest.raises(AssertionError, match="batches differ: 4 of"):
        check_same_batches(lambda one: list(moving(RandomAffine())(one))[:3], held)


def _names_in(file: Path) -> set[str]:
    """Peers' packages that a file imports, variables of the environment that it reads, and the device `cuda`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = _peers_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "cuda":
            found.add("cuda")
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            found.add(ast.literal_eval(node.slice))
    return found


def _imported_from_shared_files(name: str) -> set[str]:
    """The peers' packages of those shared functions that the line imports by name."""
    tree = ast.parse((FOLDER / "lines" / f"{name}.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks.")):
            continue
        shared = FOLDER.parent / f"{(node.module or '').replace('.', '/')}.py"
        names = {alias.name for alias in node.names}
        for part in ast.parse(shared.read_text(encoding="utf-8")).body if shared.exists() else ():
            if isinstance(part, ast.FunctionDef) and part.name in names:
                found |= _peers_in(part)
    return found


def _peers_in(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found & PEERS
