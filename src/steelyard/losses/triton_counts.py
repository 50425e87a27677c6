"""Soft counts on a GPU: two Triton kernels that read every logit once and keep no number per class and pixel.

A program goes through the pixels of one sample in blocks, all classes of a block at once. Triton comes with torch's
builds for GPUs; where it is missing this module cannot be imported.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
MOST_CLASSES = 256  # of one block: more would not fit the registers
MOST_PLACES = 1 << 31  # of one sample: places are counted in 32 bits
MOST_SAMPLES = 65535  # CUDA's limit of a grid's second side
PROGRAMS = 2112  # sixteen for each multiprocessor; each leaves a row of sums
LOG2_E = tl.constexpr(1.4426950408889634)


def takes(logits: Tensor, target: Tensor) -> bool:
    """Whether the kernels take these: on one GPU, of a float type up to float32, laid out by class or by pixel."""
    return (
        logits.device.type == "cuda"
        and logits.device == target.device
        and logits.dtype in FLOATS
        and logits.shape[1] <= MOST_CLASSES
        and logits.numel() > 0
        and logits.shape[0] <= MOST_SAMPLES
        and triton.next_power_of_2(logits.shape[1]) * logits[0, 0].numel() < MOST_PLACES
        and _steps(logits) is not None
    )


def room(logits: Tensor) -> tuple[()]:
    """Nothing is kept for `gradient`: exponentials cost a GPU less than bytes."""
    return ()


def count(logits: Tensor, target: Tensor) -> Tensor:
    """TP, Σ p and reference pixels: (3, batch, part, class) float64, of so many parts of a sample.

    A label that no class has fails an assertion on the GPU.
    """
    (batch, classes), pixels, far = logits.shape[:2], logits[0, 0].numel(), _steps(logits)
    assert far is not None
    block = _count_block(classes)
    parts = max(1, min(triton.cdiv(pixels, block), PROGRAMS // batch))
    sums = torch.empty(3, batch, parts, classes, dtype=torch.float64, device=logits.device)
    with torch.cuda.device_of(logits):
        _count[(parts, batch)](
            logits,
            target.contiguous(),
            sums,
            classes,
            pixels,
            *far,
            PADDED=triton.next_power_of_2(classes),
            BLOCK=block,
            IS_FULL=pixels % block == 0,
            num_warps=1,
            debug=True,  # keeps the assertion
            sanitize_overflow=False,
        )
    return sums


def gradient(logits: Tensor, target: Tensor, by_tp: Tensor, by_prediction: Tensor) -> Tensor:
    """The logits' gradient, from those of TP and Σ p, each (batch, class)."""
    (batch, classes), pixels, far = logits.shape[:2], logits[0, 0].numel(), _steps(logits)
    assert far is not None
    block, warps = _gradient_block(classes)
    blocks = triton.cdiv(pixels, block)
    result = torch.empty_like(logits)  # keeps the layout
    with torch.cuda.device_of(logits):
        _gradient[(blocks * batch,)](
            logits,
            target.contiguous(),
            by_tp,
            by_prediction,
            result,
            classes,
            batch,
            blocks,
            pixels,
            *far,
            *by_tp.stride(),
            *by_prediction.stride(),
            PADDED=triton.next_power_of_2(classes),
            BLOCK=block,
            IS_FULL=pixels % block == 0,
            num_warps=warps,
        )
    return result


def _steps(logits: Tensor) -> tuple[int, int] | None:
    """How far the next class and the next pixel lie, in numbers; None where neither layout fits."""
    classes, pixels = logits.shape[1], logits[0, 0].numel()
    if logits.is_contiguous():
        return pixels, 1
    return (1, classes) if logits.movedim(1, -1).is_contiguous() else None


def _count_block(classes: int) -> int:
    """Pixels of a block, which one warp counts."""
    padded = triton.next_power_of_2(classes)
    return min(max(128, 1024 // padded), 4096 // padded)


def _gradient_block(classes: int) -> tuple[int, int]:
    """Pixels of a block and warps of a program."""
    padded = triton.next_power_of_2(classes)
    pixels = min(max(64, 1024 // padded), 8192 // padded)
    return pixels, max(1, pixels * padded // 2048)


@triton.jit
@no_type_check
def _block_of(block, pixels, BLOCK: tl.constexpr, IS_FULL: tl.constexpr):
    """The pixels of a block, and which of them there are: all, if blocks are known to be full."""
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    is_pixel = pixel < pixels
    if IS_FULL:
        is_pixel = tl.full([BLOCK], True, tl.int1)
    return pixel, is_pixel


@triton.jit
@no_type_check
def _softmax(logits, place, is_class, is_pixel):
    """Probabilities (class, pixel) but for a factor of each pixel, and that factor; 0 beyond the classes.

    Shifted and turned into powers of two in one multiplication and addition.
    """
    read = tl.load(logits + place, mask=is_class[:, None] & is_pixel[None, :], other=float("-inf")).to(tl.float32)
    highest = tl.where(is_pixel, tl.max(read, axis=0), 0.0) * LOG2_E
    powers = tl.where(is_class[:, None], tl.exp2(read * LOG2_E - highest[None, :]), 0.0)
    return powers, 1.0 / tl.where(is_pixel, tl.sum(powers, axis=0), 1.0)


@triton.jit
@no_type_check
def _count(
    logits,
    target,
    sums,
    classes: tl.constexpr,  # so that nothing is computed beyond them
    pixels,
    class_step,
    pixel_step,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_FULL: tl.constexpr,
):
    part, parts = tl.program_id(0), tl.num_programs(0)
    sample, samples = tl.program_id(1), tl.num_programs(1)
    logits += sample.to(tl.int64) * classes * pixels
    target += sample.to(tl.int64) * pixels
    label = tl.arange(0, PADDED)
    is_class = label < classes
    tp = tl.zeros([PADDED], tl.float32)
    prediction = tl.zeros([PADDED], tl.float32)
    reference = tl.zeros([2 * PADDED], tl.int32)  # from PADDED on: places beyond the pixels
    for block in range(part, tl.cdiv(pixels, BLOCK), parts):
        pixel, is_pixel = _block_of(block, pixels, BLOCK, IS_FULL)
        place = label[:, None] * class_step + pixel[None, :] * pixel_step
        powers, factor = _softmax(logits, place, is_class, is_pixel)
        wanted = tl.load(target + pixel, mask=is_pixel, other=0).to(tl.int32)
        tl.device_assert((wanted >= 0) & (wanted < classes), "target must hold class indices, from 0 on")
        wanted = tl.where(is_pixel, wanted, PADDED)
        share = powers * factor[None, :]
        tp += tl.sum(tl.where(label[:, None] == wanted[None, :], share, 0.0), axis=1)
        prediction += tl.sum(share, axis=1)
        reference += tl.histogram(wanted, 2 * PADDED)
    row = (sample * parts + part) * classes
    rows = samples * parts * classes
    tl.store(sums + row + label, tp, mask=is_class)
    tl.store(sums + rows + row + label, prediction, mask=is_class)
    bin = tl.arange(0, 2 * PADDED)
    tl.store(sums + 2 * rows + row + bin, reference, mask=bin < classes)


@triton.jit
@no_type_check
def _gradient(
    logits,
    target,
    by_tp,
    by_prediction,
    result,
    classes: tl.constexpr,
    samples,
    blocks,
    pixels,
    class_step,
    pixel_step,
    tp_sample_step,
    tp_class_step,
    prediction_sample_step,
    prediction_class_step,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_FULL: tl.constexpr,
):
    """With v_ic = ∂/∂Σp_c + [g_i = c] ∂/∂TP_c, the logit z_ic gets p_ic (v_ic − Σ_k v_ik p_ik)."""
    sample = (tl.program_id(0) % samples).to(tl.int64)
    block = blocks - 1 - tl.program_id(0) // samples  # counted last, so perhaps still in the cache
    logits += sample * classes * pixels
    result += sample * classes * pixels
    pixel, is_pixel = _block_of(block, pixels, BLOCK, IS_FULL)
    label = tl.arange(0, PADDED)
    is_class = label < classes
    place = label[:, None] * class_step + pixel[None, :] * pixel_step
    powers, factor = _softmax(logits, place, is_class, is_pixel)
    wanted = tl.load(target + sample * pixels + pixel, mask=is_pixel, other=0).to(tl.int32)
    tp_place = sample * tp_sample_step + label * tp_class_step
    prediction_place = sample * prediction_sample_step + label * prediction_class_step
    of_tp = tl.load(by_tp + tp_place, mask=is_class, other=0.0).to(tl.float32)
    of_prediction = tl.load(by_prediction + prediction_place, mask=is_class, other=0.0).to(tl.float32)
    value = of_prediction[:, None] + tl.where(label[:, None] == wanted[None, :], of_tp[:, None], 0.0)
    share = powers * factor[None, :]
    mean = tl.sum(value * share, axis=0)
    derivative = (share * (value - mean[None, :])).to(result.dtype.element_ty)
    tl.store(result + place, derivative, mask=is_class[:, None] & is_pixel[None, :])
