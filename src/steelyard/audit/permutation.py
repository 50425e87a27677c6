"""Permutation: does it matter what number an organ has, or where in the batch a slice stands?"""

from __future__ import annotations

import math

import torch

from steelyard.audit.finding import Finding
from steelyard.audit.scene import organ_sizes, scene, unsure
from steelyard.audit.subject import Subject

ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}  # relative; a loss may count in float32 inside


def class_permutation(subject: Subject) -> Finding:
    """Organs renumbered in prediction and target alike (with the options that hold one value per class): same loss."""
    classes = subject.classes
    labels = scene(organ_sizes(classes))
    probabilities = unsure(labels, classes, seed=5)
    order = torch.tensor([0, *range(2, classes), 1])  # the background stays, every organ moves
    place = torch.argsort(order)
    changed = {
        key: [value[int(index)] for index in order]
        for key, value in subject.loss.options.items()
        if isinstance(value, list | tuple) and len(value) == classes and subject.loss.takes(key)
    }
    plain = subject.price(probabilities, labels)
    renumbered = subject.price(probabilities[:, order], place[labels], **changed)
    return _equal(
        subject,
        "class permutation",
        plain,
        renumbered,
        "The number of a class changes what it costs: a class is left out, or weighed by its place.",
    )


def batch_permutation(subject: Subject) -> Finding:
    """The samples of a batch in another order: the same loss."""
    classes = subject.classes
    labels = scene(organ_sizes(classes), batch=4)
    probabilities = unsure(labels, classes, seed=6)
    order = torch.tensor([2, 0, 3, 1])
    plain = subject.price(probabilities, labels)
    reordered = subject.price(probabilities[order], labels[order])
    return _equal(
        subject, "batch permutation", plain, reordered, "The order of the slices changes the loss of their batch."
    )


def _equal(subject: Subject, check: str, plain: float, permuted: float, explanation: str) -> Finding:
    apart = abs(permuted - plain)
    passed = math.isfinite(apart) and apart <= ROUNDING[subject.dtype] * max(1.0, abs(plain))
    return Finding(
        check,
        "pass" if passed else "fail",
        f"{plain:.6f} and {permuted:.6f}",
        "equal",
        "" if passed else explanation,
        {"plain": plain, "permuted": permuted},
    )
