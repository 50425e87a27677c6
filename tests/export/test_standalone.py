"""What is exported charges what Steelyard's own loss charges: value and gradient, also where voxels are ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from exported import LOSSES_TO_EXPORT, export_to, imported, ours
from worked_losses import FN, FP, LOGITS, TARGET, TP, random_case, tversky, value_and_gradient

IGNORE = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    return {key: export_to(key, folder, to="smp")[".py"] for key in LOSSES_TO_EXPORT}


def batches() -> dict[str, tuple[Tensor, Tensor]]:
    """Flat and solid batches; one lacks class 2 everywhere, and in one a sample lacks two classes."""
    flat, solid, one = random_case(seed=3), random_case(seed=4, space=(4, 3, 5)), random_case(seed=5, batch=1)
    nowhere, elsewhere = flat[1].clone(), solid[1].clone()
    nowhere[nowhere == 2] = 0
    elsewhere[1] = 1
    return {"flat": flat, "one": one, "nowhere": (flat[0], nowhere), "elsewhere": (solid[0], elsewhere)}


@pytest.mark.parametrize("batch", batches())
@pytest.mark.parametrize("key", LOSSES_TO_EXPORT)
def test_value_and_gradient_are_those_of_our_loss(files: dict[str, Path], key: str, batch: str) -> None:
    logits, target = batches()[batch]
    loss = imported(files[key]).build_loss()
    for kind, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        value, gradient = value_and_gradient(ours(key), logits.to(kind), target)
        for form in (target, target[:, None], target[:, None].float(), target.to(torch.int16)):
            theirs, their_gradient = value_and_gradient(loss, logits.to(kind), form)
            assert theirs == pytest.approx(value, rel=tolerance)
            torch.testing.assert_close(their_gradient, gradient, rtol=10 * tolerance, atol=tolerance)


def test_the_numbers_are_those_of_hand_arithmetic(files: dict[str, Path]) -> None:
    by_hand = sum(tversky(TP[c], FP[c], FN[c], 0.3, 1.6) for c in range(3)) / 3
    assert float(imported(files["prices"]).loss_fn(LOGITS, TARGET)) == pytest.approx(by_hand, rel=1e-7)


@pytest.mark.parametrize("key", LOSSES_TO_EXPORT)
def test_ignored_voxels_count_nowhere(files: dict[str, Path], key: str) -> None:
    """As our own loss on the voxels that are left; a sample of which none is left is left out."""
    logits, target = random_case(seed=8, batch=4, space=(6, 5))
    ignored = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    ignored[2] = True
    ignored[3] |= target[3] == 2
    loss = imported(files[key]).build_loss(ignore_label=IGNORE)
    found = value_and_gradient(loss, logits, torch.where(ignored, IGNORE, target)[:, None].float())

    def of_the_rest(logits: Tensor, target: Tensor) -> Tensor:
        kept = [(x[:, ~off][None], t[~off][None]) for x, t, off in zip(logits, target, ignored, strict=True)]
        filled = [(x, t) for x, t in kept if t.numel()]
        if LOSSES_TO_EXPORT[key][1].get("scope") == "slice":
            return torch.stack([ours(key)(x, t) for x, t in filled]).mean()
        return ours(key)(torch.cat([x for x, _ in filled], 2), torch.cat([t for _, t in filled], 1))

    value, gradient = value_and_gradient(of_the_rest, logits, target)
    assert found[0] == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(found[1], gradient, rtol=1e-9, atol=1e-14)
    assert (found[1].movedim(1, -1)[ignored] == 0).all()


@pytest.mark.parametrize("key", LOSSES_TO_EXPORT)
def test_a_batch_in_which_all_is_ignored_costs_nothing(files: dict[str, Path], key: str) -> None:
    logits, target = random_case(seed=9)
    loss = imported(files[key]).build_loss(ignore_label=IGNORE)
    value, gradient = value_and_gradient(loss, logits, torch.full_like(target, IGNORE))
    assert value == 0
    assert (gradient == 0).all()


def test_half_precision_is_summed_in_float32(files: dict[str, Path]) -> None:
    """40 000 voxels of an organ: sums in bf16 would stop growing at 256."""
    logits = torch.zeros(1, 3, 200, 200, dtype=torch.bfloat16)
    target = torch.ones(1, 200, 200, dtype=torch.long)
    by_hand = (1 + tversky(40_000 / 3, 0, 80_000 / 3, 0.5, 0.5) + 1) / 3
    assert float(imported(files["dice"]).loss_fn(logits, target)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(
    ("logits", "target", "said"),
    [
        ((2, 3, 4, 4), torch.full((2, 4, 4), 3), "class indices 0 to 2"),
        ((2, 3, 4, 4), torch.full((2, 4, 4), 0.5), "class indices 0 to 2"),
        ((2, 3, 4, 4), torch.full((2, 4, 4), -1), "class indices 0 to 2"),
        ((2, 3, 4, 4), torch.zeros(2, 3, 4, 4), "argmax"),
        ((2, 1, 4, 4), torch.zeros(2, 4, 4), "two classes or more"),
        ((2, 4, 4, 4), torch.zeros(2, 4, 4), "written with 3 weights, but the network needs 4"),
    ],
)
def test_what_would_be_counted_wrongly_is_refused(
    files: dict[str, Path], logits: tuple[int, ...], target: Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        imported(files["prices per class"]).loss_fn(torch.zeros(logits), target)


def test_as_many_organs_as_were_written_are_wanted(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="written for 2 organs, but the network has 3"):
        imported(files["per organ, each its own"]).loss_fn(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2))


def test_exported_files_run_where_steelyard_is_not_installed(files: dict[str, Path]) -> None:
    code = (
        "import sys; sys.modules['steelyard'] = None; import torch, importlib\n"
        f"sys.path.insert(0, {str(files['dice'].parent)!r})\n"
        f"for name in {sorted(file.stem for file in files.values())!r}:\n"
        "    loss = importlib.import_module(name).loss_fn\n"
        "    assert loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2)).isfinite(), name\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_a_file_holds_only_what_its_loss_needs(files: dict[str, Path]) -> None:
    assert not hasattr(imported(files["dice"]), "CrossEntropyLoss")
    assert not hasattr(imported(files["cross_entropy"]), "OverlapLoss")
    assert not hasattr(imported(files["dice_ce"]), "PerOrganLoss")


def test_exported_files_pass_the_linter(files: dict[str, Path]) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for command in ("check --select F,I,B --line-length 200", "format --check --line-length 120"):
        done = subprocess.run(
            [ruff, *command.split(), "--isolated", "--target-version", "py311", *files.values()],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("key", ["iou0515", "dice_ce", "per organ, each its own"])
def test_torch_compile_takes_the_loss(files: dict[str, Path], key: str) -> None:
    logits, target = random_case(seed=12)
    compiled = torch.compile(imported(files[key]).build_loss(ignore_label=IGNORE), backend="aot_eager")
    value, gradient = value_and_gradient(ours(key), logits, target)
    theirs, their_gradient = value_and_gradient(compiled, logits, target)
    assert theirs == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(their_gradient, gradient, rtol=1e-9, atol=1e-14)
