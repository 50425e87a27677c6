"""A sound loss written without Steelyard, and the same loss with one fault each: what the audit has to tell apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Sound(nn.Module):
    """1 − mean of TP / (TP + α FP + β FN) per slice; a class that a slice lacks costs α × its mean probability."""

    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, background: bool = True) -> None:
        super().__init__()
        self.weights = fp_weight, fn_weight
        self.kept = slice(None) if background else slice(1, None)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.shape != logits.shape[:1] + logits.shape[2:]:
            raise ValueError("target must be (batch, *space)")
        p = self.probabilities(logits)
        g = functional.one_hot(target, p.shape[1]).movedim(-1, 1).to(p.dtype)
        return self.over_batch(self.terms(p.flatten(2), g.flatten(2))[:, self.kept].mean(1))

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        """(batch, class)"""
        fp_weight, fn_weight = self.weights
        tp, fp, fn = (p * g).sum(2), (p * (1 - g)).sum(2), ((1 - p) * g).sum(2)
        here = g.sum(2) > 0
        index = tp / torch.where(here, tp + fp_weight * fp + fn_weight * fn, 1)
        return torch.where(here, 1 - index, self.absent(fp_weight, p))

    def absent(self, fp_weight: float, p: Tensor) -> Tensor:
        return fp_weight * p.mean(2)

    def over_batch(self, losses: Tensor) -> Tensor:
        return losses.mean()


class PooledClasses(Sound):
    """One index of the counts of all classes together."""

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        fp_weight, fn_weight = self.weights
        p, g = p[:, self.kept], g[:, self.kept]
        tp, fp, fn = (p * g).sum((1, 2)), (p * (1 - g)).sum((1, 2)), ((1 - p) * g).sum((1, 2))
        return (1 - tp / (tp + fp_weight * fp + fn_weight * fn))[:, None].expand(-1, 4)


class SwappedWeights(Sound):
    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        self.weights, kept = self.weights[::-1], self.weights
        terms = super().terms(p, g)
        self.weights = kept
        return terms


class IgnoredWeight(Sound):
    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, background: bool = True) -> None:
        super().__init__(fn_weight=fn_weight, background=background)


class WrongClassDropped(Sound):
    """The option that leaves out the background leaves out the last organ."""

    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, background: bool = True) -> None:
        super().__init__(fp_weight=fp_weight, fn_weight=fn_weight)
        self.kept = slice(None) if background else slice(None, -1)


class LastDroppedToo(Sound):
    """The option that leaves out the background leaves out the last organ as well."""

    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, background: bool = True) -> None:
        super().__init__(fp_weight=fp_weight, fn_weight=fn_weight)
        self.kept = slice(None) if background else slice(1, -1)


class BackgroundAlwaysDropped(Sound):
    """Its option does nothing."""

    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, background: bool = True) -> None:
        super().__init__(fp_weight=fp_weight, fn_weight=fn_weight, background=False)


class DeadAbsent(Sound):
    """It charges for an absent class, and detaches the charge."""

    def absent(self, fp_weight: float, p: Tensor) -> Tensor:
        return super().absent(fp_weight, p).detach()


class DeadAbsentByName(DeadAbsent):
    """An option called `absent` that does nothing is no excuse."""

    def __init__(self, *, fp_weight: float = 0.6, fn_weight: float = 1.1, absent: str = "formula") -> None:
        super().__init__(fp_weight=fp_weight, fn_weight=fn_weight)


class StepAbsent(Sound):
    """Smoothed in numerator and denominator: an absent class costs 0 or 1 by a trace of probability."""

    def absent(self, fp_weight: float, p: Tensor) -> Tensor:
        return 1 - 1e-5 / (fp_weight * p.sum(2) + 1e-5)


class NothingOverNothing(Sound):
    """0 / 0 where a slice has no organ."""

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        organs = g[:, 1:].sum((1, 2))
        return super().terms(p, g) * (organs / organs)[:, None]


class DoubleSoftmax(Sound):
    def probabilities(self, logits: Tensor) -> Tensor:
        return super().probabilities(logits).softmax(1)


class NoSoftmax(Sound):
    def probabilities(self, logits: Tensor) -> Tensor:
        return logits


class HalfSums(Sound):
    """It counts in the type of its input, as float16 adds."""

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)


class Detached(Sound):
    """The FP count has no gradient."""

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        return super().terms(torch.where(g == 1, p, p.detach()), g)


class SumOverBatch(Sound):
    def over_batch(self, losses: Tensor) -> Tensor:
        return losses.sum()


class FirstSliceCountsTwice(Sound):
    def over_batch(self, losses: Tensor) -> Tensor:
        return (losses.sum() + losses[0]) / (len(losses) + 1)


class LastClassCountsTwice(Sound):
    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        factors = torch.ones(p.shape[1], dtype=p.dtype)
        factors[-1] = 2
        return super().terms(p, g) * factors


class SpillsPraised(Sound):
    """What is spilled is counted as found."""

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        return super().terms(p, g) - 2 * (p * (1 - g)).mean(2)


class BatchPooled(Sound):
    """Counts added over the slices of the batch, but not over processes."""

    def terms(self, p: Tensor, g: Tensor) -> Tensor:
        return super().terms(*(values.movedim(0, 1).flatten(1)[None] for values in (p, g)))


class SigmoidFocal(nn.Module):
    """One sigmoid per class, a mean over pixels and classes."""

    def __init__(self, *, include_background: bool = True) -> None:
        super().__init__()
        self.kept = slice(None) if include_background else slice(1, None)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        g = functional.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        nll = functional.binary_cross_entropy_with_logits(logits, g, reduction="none")
        return ((1 - torch.exp(-nll)) ** 2 * nll)[:, self.kept].mean()


def smoothed(logits: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(logits, target, label_smoothing=0.1)


def sound_function(logits: Tensor, target: Tensor, *, fp_weight: float = 0.6, fn_weight: float = 1.1) -> Tensor:
    """A function of logits and target, to be taken for the loss itself."""
    return Sound(fp_weight=fp_weight, fn_weight=fn_weight)(logits, target)


def make(fp_weight: float, fn_weight: float = 1.1) -> Sound:
    """A builder, once it has its one argument."""
    return Sound(fp_weight=fp_weight, fn_weight=fn_weight)


def one_hot_loss(logits: Tensor, target: Tensor) -> Tensor:
    """It wants a one-hot target, and broadcasts any other in silence."""
    overlap = (logits.softmax(1) * target).sum((2, 3))
    return 1 - (2 * overlap / (logits.softmax(1) + target).sum((2, 3))).mean()


def channel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """It wants (batch, 1, row, column)."""
    if target.shape[1] != 1 or target.ndim != 4:
        raise ValueError("a channel was wanted")
    return functional.cross_entropy(logits, target[:, 0])


def careless_channel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """It wants (batch, 1, row, column), and takes the first channel of a one-hot target for class numbers."""
    return functional.cross_entropy(logits, target[:, 0].long())


NUMBER = 3
