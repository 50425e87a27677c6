"""The audit: every check of one loss, each asked on its own, so that one that breaks hides no other."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from steelyard import __version__
from steelyard.audit.absent import absent_gradient, absent_value, empty_slice
from steelyard.audit.activation import input_form
from steelyard.audit.background import background_option
from steelyard.audit.finding import Audit, Finding
from steelyard.audit.named import Named, TakenFor, named, reason
from steelyard.audit.numbers import bf16, finite_differences, fp16
from steelyard.audit.options import Options, options_of
from steelyard.audit.permutation import batch_permutation, class_permutation
from steelyard.audit.prices import fn_weight, fp_weight
from steelyard.audit.processes import two_processes
from steelyard.audit.scope import scope
from steelyard.audit.subject import InputForm, Subject, TargetForm, adapt
from steelyard.audit.values import least_at_truth, small_organ, value_range
from steelyard.errors import BadSpec, unknown_name
from steelyard.losses import LOSSES

CHECKS: Mapping[str, Callable[[Subject], Finding]] = {
    "FP weight": fp_weight,
    "FN weight": fn_weight,
    "logits or probabilities": input_form,
    "range": value_range,
    "least at the truth": least_at_truth,
    "class permutation": class_permutation,
    "batch permutation": batch_permutation,
    "background option": background_option,
    "absent organ: value": absent_value,
    "absent organ: gradient": absent_gradient,
    "all-empty slice": empty_slice,
    "a small organ": small_organ,
    "scope": scope,
    "fp16 overflow": fp16,
    "bf16 overflow": bf16,
    "gradient": finite_differences,
    "two processes": two_processes,
}
LEAST_CLASSES = 3


def audit_loss(
    loss: str | Callable[..., Any],
    *,
    options: Mapping[str, Any] | None = None,
    taken_for: TakenFor | None = None,
    target: TargetForm | None = None,
    input: InputForm = "logits",
    fp_option: str | None = None,
    fn_option: str | None = None,
    background_option: str | None = None,
    classes: int = 4,
    device: str = "cpu",
    processes: bool = True,
    checks: Sequence[str] | None = None,
) -> Audit:
    """Question a loss with predictions that err in one known way, and measure what it charges.

    Args:
        loss: a registered name, `module:callable` or `file.py:callable`; or a class, a function of logits and target,
            or a built module itself.
        options: what a class or a builder is called with, or what a function is given beside logits and target.
        taken_for: `builder` or `loss`, where the signature does not tell.
        target: `index` (batch, *space), `onehot` (batch, class, *space) or `channel` (batch, 1, *space); they are tried
            in this order when None.
        input: what the network gives, logits or probabilities.
        fp_option, fn_option, background_option: the names of these options; known ones are found.
        classes: background included; 3 at least.
        device: where the loss counts; the kernels of a GPU may keep sums in other digits than those of a CPU.
        processes: whether to start two processes, which takes some seconds. They count on the CPU.
        checks: the names of those to ask, as in the findings; all when None.

    Same seeds, same findings. Nothing is downloaded, and the processes meet on this machine only.

    Raises:
        BadSpec: the loss cannot be found, built or called.

    >>> audit = audit_loss("tversky", options={"fp_weight": 0.3}, processes=False)
    >>> audit.failures
    ()
    >>> audit["FP weight"].verdict
    'pass'
    """
    if classes < LEAST_CLASSES:
        raise BadSpec(f"--classes {classes}: {LEAST_CLASSES} at least were wanted, a background and two organs.")
    if unknown := [name for name in checks or () if name not in CHECKS]:
        raise BadSpec(unknown_name("check", unknown[0], CHECKS))
    found = named(loss, options or {}, taken_for)
    roles = options_of(found, fp=fp_option, fn=fn_option, background=background_option)
    subject = adapt(found, roles, target_form=target, input_form=input, classes=classes, device=device)
    asked = {
        name: check
        for name, check in CHECKS.items()
        if (processes or check is not two_processes) and (checks is None or name in checks)
    }
    return Audit(
        loss=found.name,
        taken_for=_taken_for(found),
        options=dict(found.options),
        called_with=f"{subject.called_with}; {classes} classes",
        roles=_roles(found, roles),
        versions=_versions(found),
        findings=tuple(_ask(name, check, subject) for name, check in asked.items()),
    )


def _ask(name: str, check: Callable[[Subject], Finding], subject: Subject) -> Finding:
    try:
        return check(subject)
    except Exception as error:  # whatever foreign code raises
        return Finding(name, "fail", f"raised {reason(error)}", "a number", "It cannot be asked this: a training may.")


def _taken_for(loss: Named) -> str:
    if isinstance(loss.source, str) and loss.source in LOSSES:
        return "a registered loss"
    if loss.taken_for == "loss":
        return "the loss itself, called with logits and target"
    return "what builds the loss, called with the options"


def _roles(loss: Named, options: Options) -> dict[str, str]:
    """Which option is taken for what, and how it is turned."""
    roles = {
        "FP weight": options.fp,
        "FN weight": options.fn,
        "background": options.background,
        "scope": options.scope,
        "absent": options.absent,
    }
    return {role: option if loss.takes(option) else f"{option} (attribute)" for role, option in roles.items() if option}


def _versions(loss: Named) -> dict[str, str]:
    versions = {"steelyard": __version__, "torch": torch.__version__}
    for distribution in importlib.metadata.packages_distributions().get(loss.library, ()):
        versions[distribution] = importlib.metadata.version(distribution)
    return versions
