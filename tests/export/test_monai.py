"""MONAI's own parser builds the exported configuration; its loss charges what ours charges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.losses import TverskyLoss
from torch import nn

from exported import LOSSES_TO_EXPORT, export_to, ours
from steelyard.export import export
from steelyard.losses import IoULoss
from worked_losses import random_case, value_and_gradient

MONAIS_OWN = {"iou11", "iou1505", "iou0515", "dice", "diceBK", "prices", "slice"}


def parsed(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """As `python -m monai.bundle` builds it."""
    monkeypatch.syspath_prepend(files[".json"].parent)
    sys.modules.pop(files[".py"].stem if ".py" in files else "", None)  # of another test's folder
    parser = ConfigParser()
    parser.read_config(files[".json"])
    return parser.get_parsed_content("loss")


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("key", LOSSES_TO_EXPORT)
def test_value_and_gradient_are_those_of_our_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, standalone: bool
) -> None:
    files = export_to(key, tmp_path, to="monai", standalone=standalone)
    loss = parsed(files, monkeypatch)
    theirs = key in MONAIS_OWN and not standalone
    assert isinstance(loss, TverskyLoss) == theirs
    assert (".py" in files) != theirs
    for seed, space in ((6, (6, 5)), (7, (4, 3, 5))):
        logits, everywhere = random_case(seed=seed, space=space)
        nowhere = torch.where(everywhere == 2, 0, everywhere)
        for target in (everywhere, nowhere):
            value, gradient = value_and_gradient(ours(key), logits.float(), target)
            found = value_and_gradient(lambda x, t: loss(x, t[:, None]), logits.float(), target)
            assert found[0] == pytest.approx(value, rel=1e-6)
            torch.testing.assert_close(found[1], gradient, rtol=1e-4, atol=1e-6)


def test_the_small_number_in_the_denominator_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four voxels, all but lost: TP and prices are so small that 1e-5 in its place would show."""
    options = ["fp_weight=2e-4", "fn_weight=3e-4"]
    files = {path.suffix: path for path in export("tversky", to="monai", out=tmp_path, options=options).files}
    logits = torch.tensor([[12.0, 0.0, -9.0], [0.0, 12.0, -9.0]], dtype=torch.float64)[:, :, None, None].expand(
        2, 3, 1, 2
    )
    target = torch.tensor([1, 0])[:, None, None].expand(2, 1, 2)
    value, gradient = value_and_gradient(IoULoss(fp_weight=2e-4, fn_weight=3e-4), logits, target)
    loss = parsed(files, monkeypatch)
    found = value_and_gradient(lambda x, t: loss(x, t[:, None]), logits, target)
    assert found[0] == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(found[1], gradient, rtol=1e-9, atol=1e-14)


def test_a_tensor_of_monais_own_kind_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = parsed(export_to("dice_ce", tmp_path, to="monai"), monkeypatch)
    logits, target = random_case(seed=6)
    value, gradient = value_and_gradient(ours("dice_ce"), logits, target)
    metas = MetaTensor(logits).requires_grad_()
    found = loss(metas, MetaTensor(target[:, None].float()))
    found.backward()
    assert float(found.detach()) == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(metas.grad, gradient, rtol=1e-9, atol=1e-14)


def test_the_file_says_whose_loss_it_is_and_why(tmp_path: Path) -> None:
    same = json.loads(export_to("iou0515", tmp_path, to="monai")[".json"].read_text())
    assert same["loss"]["_target_"] == "monai.losses.TverskyLoss"
    assert (same["loss"]["alpha"], same["loss"]["beta"]) == (0.5, 1.5)
    assert "equal to Steelyard's" in same["steelyard"]["why"]
    for key, reason in (
        ("prices per class", "alpha and beta are one number for all classes"),
        ("class weights", "it has no class weights"),
        ("skip", "this loss says 'skip'"),
        ("dice_ce", "this is no Tversky loss"),
    ):
        files = export_to(key, tmp_path, to="monai")
        assert reason in json.loads(files[".json"].read_text())["steelyard"]["why"]
        assert reason in files[".py"].read_text()


def test_a_bundles_configuration_is_overridden_in_its_key_loss(tmp_path: Path) -> None:
    bundle = tmp_path / "train.json"
    bundle.write_text(json.dumps({"loss": {"_target_": "DiceCELoss", "softmax": True}, "epochs": 7}))
    merged = ConfigParser.load_config_files([str(bundle), str(export_to("dice", tmp_path / "x", to="monai")[".json"])])
    assert merged["epochs"] == 7
    assert merged["loss"]["_target_"] == "monai.losses.TverskyLoss"
