"""IoU_xy on slices, beside segmentation-models-pytorch's Tversky loss."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.lines.a1_loss import SHAPE, our_loss
from benchmarks.loss_sides import Loss, check_same, forward_and_backward, inputs, roofline

LINE = Line(
    "IoU_xy loss, forward + backward, (16, 5, 256, 256) float32",
    "segmentation-models-pytorch TverskyLoss(mode='multiclass')",
    wanted=1.0,
    repeats=15,
    calls=8,
    needs=("segmentation_models_pytorch",),
)


def ours() -> Work:
    return forward_and_backward(our_loss(), SHAPE)


def peer() -> Work:
    return forward_and_backward(_smp(), SHAPE)


def same() -> None:
    """Theirs in float64: of the second logits its sums over a strided one-hot array were off by 3e-4 in float32."""
    theirs = _smp()
    check_same(our_loss(), lambda logits, target: theirs(logits.double(), target), SHAPE)


def limit() -> Limit:
    return roofline(SHAPE)


def notes() -> list[str]:
    """How far each side's value in float32 lies from its value in float64."""
    off = []
    for loss in (our_loss(), _smp()):
        logits, target = inputs(SHAPE)
        single, double = (float(loss(z, target)) for z in (logits.detach(), logits.detach().double()))
        off.append(f"{abs(single - double):.1g}")
    return [f"in float32 the peer's value lies {off[1]} from its value in float64, ours {off[0]}"]


def _smp() -> Loss:
    """Alpha prices false positives and beta false negatives, as ours."""
    import torchvision_stub

    torchvision_stub.install()
    from segmentation_models_pytorch.losses import TverskyLoss

    return TverskyLoss(mode="multiclass", alpha=0.5, beta=1.5)
