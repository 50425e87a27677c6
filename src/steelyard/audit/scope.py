"""Scope: does the size of the batch change the loss, and are counts pooled over the batch or each slice taken alone?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steelyard.audit.finding import Finding
from steelyard.audit.options import SCOPE
from steelyard.audit.permutation import ROUNDING
from steelyard.audit.scene import organ_sizes, relabel, scene, unsure
from steelyard.audit.subject import Subject


def scope(subject: Subject) -> Finding:
    """The same slices twice cost what they cost once; the option for the scope does what it says."""
    labels = batch_of_unlike_slices(subject)
    probabilities = unsure(labels, subject.classes, seed=8, lean=3.0)
    whole, alone = _whole_and_alone(subject, probabilities, labels)
    twice = subject.price(torch.cat([probabilities] * 2), torch.cat([labels] * 2))
    same = abs(twice - whole) <= _tolerance(subject, whole)
    by_slice = abs(whole - alone) <= _tolerance(subject, whole)
    faults = [] if same else ["The size of the batch changes the loss, and with it every step of the optimiser."]
    option = subject.options.scope
    if option is not None:
        faults += _faults_of_option(subject, option, probabilities, labels)
    told = "each slice alone" if by_slice else "counts pooled over the batch"
    return Finding(
        "scope",
        "fail" if faults else "pass",
        f"{told}: batch of {len(labels)} {whole:.4f}, mean of its slices {alone:.4f}, the batch twice {twice:.4f}",
        "the batch twice costs what it costs once" + ("" if option is None else f"; {option} does what it says"),
        " ".join(faults)
        or (
            "" if by_slice else "Other slices in the batch change what a slice costs: choose the batch size with care."
        ),
        {"whole": whole, "alone": alone, "twice": twice},
    )


def batch_of_unlike_slices(subject: Subject) -> Tensor:
    """Four slices in which the organs have other sizes each time; none is absent."""
    labels = scene(organ_sizes(subject.classes), batch=4)
    for sample in range(1, len(labels)):
        organ = 1 + sample % (subject.classes - 1)
        labels[sample : sample + 1] = relabel(labels[sample : sample + 1], organ, 0, 9 * sample)
    return labels


def _faults_of_option(subject: Subject, option: str, probabilities: Tensor, labels: Tensor) -> list[str]:
    pooled, single = SCOPE[option]
    faults = []
    whole, alone = _whole_and_alone(subject, probabilities, labels, **{option: single})
    if abs(whole - alone) > _tolerance(subject, whole):
        faults.append(f"With {option}={single} the loss is not the mean over the slices ({whole:.4f}, {alone:.4f}).")
    whole_pooled, _ = _whole_and_alone(subject, probabilities, labels, **{option: pooled})
    if abs(whole_pooled - whole) <= _tolerance(subject, whole):
        faults.append(f"{option} changes nothing: {pooled} and {single} both give {whole:.4f}.")
    return faults


def _whole_and_alone(subject: Subject, probabilities: Tensor, labels: Tensor, **changed: Any) -> tuple[float, float]:
    whole = subject.price(probabilities, labels, **changed)
    rows = [slice(row, row + 1) for row in range(len(labels))]
    alone = [subject.price(probabilities[row], labels[row], **changed) for row in rows]
    return whole, sum(alone) / len(alone)


def _tolerance(subject: Subject, value: float) -> float:
    return ROUNDING[subject.dtype] * max(1.0, abs(value))
