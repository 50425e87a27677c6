"""The arithmetic of Steelyard's losses in torch alone, with an ignore label: what exported files are made of.

Exported files hold the parts of this text that they need (see `source`), so nothing here may import Steelyard.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

EPSILON = 1e-7  # added to the denominator alone: a class that nobody has and nobody predicts is not 0 / 0
IGNORED = -1  # in targets: the voxel counts nowhere


class ExportedLoss(nn.Module):
    """A loss as other tools call it: `loss(logits, target)`, a scalar.

    Logits (batch, class, *space), before the softmax, computed in float32 at least. Target (batch, *space) or
    (batch, 1, *space): class indices in any number type. Voxels that hold `ignore_label` count nowhere.
    """

    def __init__(self, loss: nn.Module, *, ignore_label: int | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss: Tensor = self.loss(logits, class_indices(logits, target, self.ignore_label))
        return loss


class OverlapLoss(nn.Module):
    """1 − weighted mean over classes of TP / (TP + α FP + β FN), with soft counts: α is fp_weight, β is fn_weight.

    Weights are a number or one per class, the background first. `scope`: "batch" pools the counts over the batch of all
    processes, "slice" takes each sample's loss and then their mean. `absent`, for a class without a reference voxel in
    the scope: "formula" (its term is 1 with zero gradient), "skip" (left out of sum and divisor), "penalise" (its term
    is α × its mean probability). Samples without a voxel that counts are left out.
    """

    def __init__(
        self,
        *,
        fp_weight: float | Sequence[float],
        fn_weight: float | Sequence[float],
        class_weights: float | Sequence[float] = 1.0,
        background: bool = True,
        scope: str = "batch",
        absent: str = "formula",
    ) -> None:
        super().__init__()
        self.fp_weight, self.fn_weight, self.class_weights = fp_weight, fn_weight, class_weights
        self.background, self.scope, self.absent = background, scope, absent

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        batch, classes = logits.shape[:2]
        labels = target.reshape(batch, 1, -1)
        counts = labels != IGNORED
        probabilities = torch.where(counts, logits.softmax(1).reshape(batch, classes, -1), 0)
        is_reference = labels == torch.arange(classes, device=labels.device)[:, None]
        tp = torch.where(is_reference, probabilities, 0).sum(2)
        sizes = [size.sum(2).to(tp.dtype).expand_as(tp) for size in (probabilities, is_reference, counts)]
        sums = torch.stack([tp, *sizes])  # (4, batch, class)
        if self.scope == "batch":
            sums = sum_over_processes(sums.sum(1, keepdim=True))
        losses, filled = self._mean_over_classes(*sums), sums[3, :, 0] > 0  # (scope,)
        total = torch.stack([torch.where(filled, losses, 0).sum(), filled.sum().to(losses.dtype)])
        if self.scope == "slice":
            total = sum_over_processes(total)
        return total[0] / total[1].clamp(min=1)

    def _mean_over_classes(self, tp: Tensor, predicted: Tensor, reference: Tensor, voxels: Tensor) -> Tensor:
        fp, fn = predicted - tp, reference - tp
        fp_weight, fn_weight = per_class(self.fp_weight, tp), per_class(self.fn_weight, tp)
        terms = 1 - tp / (tp + fp_weight * fp + fn_weight * fn + EPSILON)
        weights = torch.ones_like(terms) * per_class(self.class_weights, tp)
        if self.absent == "skip":
            weights = weights * (reference > 0)
        elif self.absent == "penalise":
            terms = torch.where(reference > 0, terms, fp_weight * fp / voxels.clamp(min=1))
        if not self.background:
            terms, weights = terms[:, 1:], weights[:, 1:]
        divisor = weights.sum(1)
        return (weights * terms).sum(1) / torch.where(divisor == 0, 1, divisor)

    def extra_repr(self) -> str:
        return (
            f"fp_weight={self.fp_weight}, fn_weight={self.fn_weight}, class_weights={self.class_weights}, "
            f"background={self.background}, scope={self.scope}, absent={self.absent}"
        )


class CrossEntropyLoss(nn.Module):
    """Σ w_y · (−log p_y) / Σ w_y over the voxels of all processes' batch, y the voxel's class; w is 1 when None."""

    def __init__(self, *, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.class_weights = class_weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        counts = target != IGNORED
        weights = logits.new_ones(logits.shape[1])
        if self.class_weights is not None:
            weights = weights * per_class(self.class_weights, weights)
        charged = nn.functional.cross_entropy(logits, target, weight=weights, ignore_index=IGNORED, reduction="sum")
        total = torch.where(counts, weights[target.clamp(min=0)], 0).sum()
        charged, total = sum_over_processes(torch.stack([charged, total]))
        return charged / torch.where(total == 0, 1, total)

    def extra_repr(self) -> str:
        return f"class_weights={self.class_weights}"


class SumOfLosses(nn.Module):
    """All of `losses` added up."""

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.stack([loss(logits, target) for loss in self.losses]).sum()


class PerOrganLoss(nn.Module):
    """Σ_c w_c L_c / Σ_c w_c over the organs c; L_c sees two classes, everything else (0) and the organ (1).

    `losses`: one per organ in the order of the classes, none for the background, or one for all. `against`: "rest"
    gives L_c the logits (log Σ_{k≠c} exp z_k, z_c), "background" gives it (z_0, z_c).
    """

    def __init__(
        self, *, losses: nn.Module | Sequence[nn.Module], against: str, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.alike = isinstance(losses, nn.Module)
        self.losses = nn.ModuleList([losses] if isinstance(losses, nn.Module) else losses)
        self.against, self.weights = against, weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        organs = logits.shape[1] - 1
        losses = list(self.losses) * organs if self.alike else list(self.losses)
        if len(losses) != organs:
            raise ValueError(f"the loss was written for {len(losses)} organs, but the network has {organs}.")
        charged = torch.stack([loss(*self._alone(logits, target, c)) for c, loss in enumerate(losses, start=1)])
        weights = torch.ones_like(charged)
        if self.weights is not None:
            weights = weights * per_class(self.weights, charged)
        return (weights * charged).sum() / weights.sum()

    def _alone(self, logits: Tensor, target: Tensor, organ: int) -> tuple[Tensor, Tensor]:
        if self.against == "rest":
            other = torch.cat((logits[:, :organ], logits[:, organ + 1 :]), dim=1).logsumexp(1)
        else:
            other = logits[:, 0]
        alone = torch.where(target == IGNORED, IGNORED, (target == organ).long())
        return torch.stack((other, logits[:, organ]), dim=1), alone

    def extra_repr(self) -> str:
        return f"against={self.against}, weights={self.weights}"


def class_indices(logits: Tensor, target: Tensor, ignore_label: int | None) -> Tensor:
    """The target as (batch, *space) int64, ignored voxels marked. Refuses what would be counted wrongly in silence."""
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    if logits.ndim < 3 or logits.shape[1] < 2 or target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            "logits (batch, class, *space) of two classes or more and a target (batch, *space) or (batch, 1, *space) "
            f"were wanted; came {tuple(logits.shape)} and {tuple(target.shape)}. A one-hot target becomes "
            "target.argmax(1)."
        )
    labels = target.long()
    counts = torch.ones_like(labels, dtype=torch.bool) if ignore_label is None else labels != ignore_label
    known = (~counts | ((labels == target) & (labels >= 0) & (labels < logits.shape[1]))).all()
    if labels.is_cuda:  # a look at the value would make the GPU wait
        torch._assert_async(known)
    elif not known:
        raise ValueError(
            f"the target must hold class indices 0 to {logits.shape[1] - 1} or the ignore label {ignore_label}; came "
            f"{target.min().item()} to {target.max().item()}."
        )
    return torch.where(counts, labels, IGNORED)


def per_class(weights: float | Sequence[float], like: Tensor) -> float | Tensor:
    """The weights beside `like` (…, class); a number stays one."""
    if isinstance(weights, (int, float)):
        return weights
    if len(weights) != like.shape[-1]:
        raise ValueError(f"the loss was written with {len(weights)} weights, but the network needs {like.shape[-1]}.")
    return like.new_tensor(weights)


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of all processes' `tensor`. DistributedDataParallel's mean of gradients is then that of one process."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return tensor
    summed: Tensor = SumOverProcesses.apply(tensor)
    return summed


class SumOverProcesses(torch.autograd.Function):
    """Values are added up on the way there, gradients on the way back."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:
        summed = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)
