"""The verb that questions a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from steelyard.cli.app import console
from steelyard.errors import SteelyardError


def audit(
    loss: str,
    *,
    with_: Annotated[list[str] | None, Parameter(name="--with", consume_multiple=True, negative=())] = None,
    as_: Annotated[Literal["builder", "loss"] | None, Parameter(name="--as")] = None,
    target: Literal["index", "onehot", "channel"] | None = None,
    input: Literal["logits", "probabilities"] = "logits",
    fp_option: str | None = None,
    fn_option: str | None = None,
    background_option: str | None = None,
    classes: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=3, lte=10))] = 4,
    device: str = "cpu",
    processes: bool = True,
    out: Path | None = None,
) -> None:
    """Question a loss: does it charge for what it says, at the right price, also for absent organs and large slices?

    Exit code 0 when no check fails, 1 when one does, 2 when the loss cannot be found or called.

    Parameters
    ----------
    loss
        A registered name, as tversky; module:callable, as monai.losses:TverskyLoss; or path/to/file.py:callable.
    with_
        Its options, as --with softmax=true to_onehot_y=true alpha=0.3: numbers, true, lists, words.
    as_
        Whether the callable builds the loss or is the loss, where its signature does not tell.
    target
        The target it wants: index (batch, *space), onehot (batch, class, *space) or channel (batch, 1, *space); tried
        in this order when left out.
    input
        What the network gives.
    fp_option
        The option that is the FP weight, where it has no known name.
    fn_option
        The option that is the FN weight.
    background_option
        The option (true or false) by which class 0 has a term.
    classes
        How many classes, background included.
    device
        Where the loss counts: cpu, or cuda for the kernels of a GPU.
    processes
        Also compare two processes with one, which takes some seconds.
    out
        Also write all findings with their numbers to this file, as JSON.
    """
    from steelyard.audit.audit import audit_loss
    from steelyard.audit.table import lines_above, lines_below, table
    from steelyard.options import parse_options

    done = audit_loss(
        loss,
        options=parse_options(with_ or []),
        taken_for=as_,
        target=target,
        input=input,
        fp_option=fp_option,
        fn_option=fn_option,
        background_option=background_option,
        classes=classes,
        device=device,
        processes=processes,
    )
    screen = console()
    for line in lines_above(done):
        screen.print(line, highlight=False, soft_wrap=True)
    screen.print(table(done))
    for line in lines_below(done):
        screen.print(line, highlight=False, soft_wrap=True)
    if out is not None:
        out.write_text(done.as_json() + "\n", encoding="utf-8")
        screen.print(f"findings: {out}", highlight=False, soft_wrap=True)
    if done.failures:
        names = ", ".join(finding.check for finding in done.failures)
        raise SteelyardError(f"{len(done.failures)} of {len(done.findings)} checks failed: {names}")
