"""A model of segmentation-models-pytorch trains on the exported loss, and is charged what ours charges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import torchvision_stub

torchvision_stub.install()
import segmentation_models_pytorch as smp  # noqa: E402

from exported import export_to, imported, ours  # noqa: E402
from worked_losses import random_case, value_and_gradient  # noqa: E402


@pytest.mark.parametrize("key", ["iou0515", "prices per class", "dice_ce", "slice", "per organ"])
def test_a_model_gets_the_gradient_of_our_loss(tmp_path: Path, key: str) -> None:
    loss_fn = imported(export_to(key, tmp_path, to="smp")[".py"]).loss_fn
    torch.manual_seed(3)
    model = smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 8, 4), classes=3)
    images, masks = torch.randn(2, 3, 32, 32), torch.randint(0, 2, (2, 32, 32))  # nobody has class 2
    found = []
    for loss in (loss_fn, ours(key)):
        model.zero_grad()
        value = loss(model(images), masks)
        value.backward()
        found.append(
            (
                float(value),
                torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None]),
            )
        )
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert found[1][1].abs().max() > 1e-3
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_smps_own_loss_is_another_where_a_class_is_absent(tmp_path: Path) -> None:
    """Why the file never uses it: it leaves the absent class's term out of the sum and not out of the divisor."""
    file = export_to("iou0515", tmp_path, to="smp")[".py"]
    theirs = smp.losses.TverskyLoss("multiclass", alpha=0.5, beta=1.5)
    logits, target = random_case(seed=6, space=(6, 5))
    assert float(theirs(logits, target)) == pytest.approx(float(ours("iou0515")(logits, target)), rel=1e-6)
    target[target == 2] = 0
    value, _ = value_and_gradient(imported(file).loss_fn, logits, target)
    assert value - float(theirs(logits, target)) == pytest.approx(1 / 3, rel=1e-6)
    assert "smp.losses.TverskyLoss is not used" in file.read_text()
