"""The same on a machine without a C compiler: torch's operators alone."""

from __future__ import annotations

from benchmarks.line import Limit, Line, Work
from benchmarks.lines import a1_loss
from benchmarks.loss_sides import check_same, forward_and_backward, monai_tversky, roofline

LINE = Line(
    "the same without a C compiler at run time",
    "MONAI TverskyLoss(softmax, to_onehot_y, batch)",
    wanted=2.0,
    repeats=31,
    calls=8,
    needs=("monai",),
    shortfall=(
        "Softmax, two gathers and two scatters of torch each pass over all pixels; together they are most of the "
        "time, and torch has no operator that sums by label without an array per class. It would take one, or "
        "wheels that hold the compiled file."
    ),
)

peer = a1_loss.peer


def ours() -> Work:
    _without_compiler()
    return forward_and_backward(a1_loss.our_loss(), a1_loss.SHAPE)


def same() -> None:
    _without_compiler()
    check_same(a1_loss.our_loss(), monai_tversky(alpha=0.5, beta=1.5), a1_loss.SHAPE)


def limit() -> Limit:
    return roofline(a1_loss.SHAPE)


def _without_compiler() -> None:
    from steelyard.losses import native_counts

    native_counts._library = lambda: None  # type: ignore[assignment]  # what it answers where no compiler is found
