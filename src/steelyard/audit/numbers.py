"""Numbers: does the loss survive half precision at the size of real slices, and is its gradient its derivative?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from steelyard.audit.finding import Finding
from steelyard.audit.named import reason
from steelyard.audit.scene import scene, unsure_logits
from steelyard.audit.subject import Subject

SIDE = 512  # pixels; one slice of 512 × 512 holds 262 144, and float16 ends at 65 504
LARGE_ORGANS = 3000
SCALE = 2.0**12  # of the loss, as a gradient scaler does, lest its gradient vanish in float16
VALUE_APART, GRADIENT_APART = 0.05, 0.1  # relative to float32 on the same rounded logits

STEPS = (1e-2, 1e-3, 1e-4, 1e-5)  # of the finite differences; the best of them counts
DIRECTIONS = 6
SLOPE_APART = 1e-2  # relative: float32 inside a loss leaves no more digits; a detached term costs far more


def fp16(subject: Subject) -> Finding:
    """Value and gradient in float16 are those of float32, up to rounding."""
    return _half(subject, torch.float16, "fp16")


def bf16(subject: Subject) -> Finding:
    """Value and gradient in bfloat16 are those of float32, up to rounding."""
    return _half(subject, torch.bfloat16, "bf16")


def finite_differences(subject: Subject) -> Finding:
    """The gradient is the slope that small steps in random directions find."""
    check, wanted = "gradient", f"within {SLOPE_APART:.0%} of finite differences"
    classes = subject.classes
    labels = scene([20 + 9 * organ for organ in range(classes - 1)], space=(24, 20))
    given = subject.from_logits(unsure_logits(labels, classes, seed=11)).to(subject.dtype).requires_grad_()
    charged = subject.call(given, labels)
    if not charged.requires_grad:
        return Finding(check, "fail", "no gradient", wanted, "The loss is cut off from its input: nothing is learned.")
    (gradient,) = torch.autograd.grad(charged, given)
    generator = torch.Generator().manual_seed(12)
    worst, told = 0.0, (0.0, 0.0)
    for number in range(DIRECTIONS):
        direction = torch.randn(given.shape, generator=generator, dtype=torch.float64).to(subject.dtype)
        if number % 2:  # one class alone, so that a term cut off is not hidden by the others
            direction = direction * (torch.arange(classes) == number % classes)[:, None, None]
        if subject.activation == "none":
            direction = direction * given.detach()  # stays a probability
        slope = float((gradient * direction).sum())
        with torch.no_grad():
            found = [_slope(subject, given, direction, labels, step) for step in STEPS]
        scale = max(float(gradient.norm() * direction.norm()) / math.sqrt(direction.numel()), 1e-12)
        nearest = min(found, key=lambda value: abs(value - slope))
        apart = abs(nearest - slope) / max(abs(slope), scale)
        if not apart <= worst:
            worst, told = apart, (slope, nearest)
    passed = worst <= SLOPE_APART and bool(torch.isfinite(gradient).all())
    return Finding(
        check,
        "pass" if passed else "fail",
        f"{worst:.1e} apart at most (gradient {told[0]:.5f}, differences {told[1]:.5f})",
        wanted,
        "" if passed else "What the optimiser follows is not the slope of this loss: something is detached or rounded.",
        {"apart": worst},
    )


def _half(subject: Subject, dtype: torch.dtype, name: str) -> Finding:
    check = f"{name} overflow"
    wanted = f"value within {VALUE_APART:.0%}, gradient within {GRADIENT_APART:.0%} of float32"
    classes = subject.classes
    labels = scene([LARGE_ORGANS + 500 * organ for organ in range(classes - 1)], batch=1, space=(SIDE, SIDE))
    logits = unsure_logits(labels, classes, seed=9, lean=4.0).to(dtype)
    try:
        value, gradient = _value_and_gradient(subject, logits, labels)
    except RuntimeError as error:
        return Finding(check, "not offered", f"refused: {reason(error)}", wanted, "Give it float32 logits.")
    exact, exact_gradient = _value_and_gradient(subject, logits.float(), labels)
    finite = math.isfinite(value) and bool(torch.isfinite(gradient).all())
    apart = abs(value - exact) / max(abs(exact), 1e-12)
    turned = float((gradient.float() - exact_gradient).norm() / exact_gradient.norm().clamp(min=1e-30))
    passed = finite and apart <= VALUE_APART and turned <= GRADIENT_APART
    explanation = ""
    if not passed:
        what = "A count overflows" if not finite else "A count overflows or loses its digits, and nothing tells"
        explanation = f"{what} on a slice of {SIDE} × {SIDE} pixels. Give it logits.float()."
    return Finding(
        check,
        "pass" if passed else "fail",
        f"{value:.4f} for {exact:.4f} in float32; gradient {turned:.1%} apart",
        wanted,
        explanation,
        {"value": value, "float32": exact, "gradient_apart": turned},
    )


def _value_and_gradient(subject: Subject, logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    given = logits.detach().clone().requires_grad_()
    charged = subject.call(subject.from_logits(given), labels)
    if not charged.requires_grad:
        return float(charged.detach()), torch.zeros_like(given)
    (gradient,) = torch.autograd.grad(charged.float() * SCALE, given)
    return float(charged.detach()), gradient.float() / SCALE


def _slope(subject: Subject, given: Tensor, direction: Tensor, labels: Tensor, step: float) -> float:
    ahead, behind = (float(subject.call(given + sign * step * direction, labels)) for sign in (1, -1))
    return (ahead - behind) / (2 * step)
