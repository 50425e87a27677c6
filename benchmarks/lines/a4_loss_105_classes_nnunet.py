"""Dice without background with 105 classes, beside the loss that nnU-Net wrote to save memory."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.a3_loss_105_classes_monai import MIB_OF_LOGITS, SHAPE, SMALL
from benchmarks.loss_sides import Loss, check_same, forward_and_backward, roofline

LINE = Line(
    "Dice loss without background, forward + backward, 105 classes, (1, 105, 96, 96, 96) float32",
    "nnU-Net MemoryEfficientSoftDiceLoss as its trainer builds it (batch_dice)",
    wanted=1.0,
    wanted_mib=1.2 * MIB_OF_LOGITS,
    repeats=7,
    needs=("nnunetv2",),
)


def ours() -> Work:
    return forward_and_backward(_our_loss(), SHAPE)


def peer() -> Work:
    return forward_and_backward(_nnunet(), SHAPE)


def same() -> None:
    check_same(_our_loss(), _nnunet(), SMALL)


def limit() -> Limit:
    return roofline(SHAPE)


def _our_loss() -> Loss:
    from steelyard.losses import IoULoss

    return IoULoss(fp_weight=0.5, fn_weight=0.5, background=False)


def _nnunet() -> Loss:
    """The options of nnUNetTrainer._build_loss; its target has a channel."""
    import torchvision_stub

    torchvision_stub.install()
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
    from nnunetv2.utilities.helpers import softmax_helper_dim1

    loss = MemoryEfficientSoftDiceLoss(
        apply_nonlin=softmax_helper_dim1, batch_dice=True, do_bg=False, smooth=1e-5, ddp=False
    )
    return lambda logits, target: loss(logits, target[:, None])
