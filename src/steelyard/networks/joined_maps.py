"""Convolution of maps that belong side by side, such as an encoder's and a decoder's, without copying them there."""

from __future__ import annotations

from torch import Tensor, nn


def convolve_joined(convolution: nn.Conv2d, *parts: Tensor) -> Tensor:
    """`convolution(torch.cat(parts, dim=1))`, as the sum of what it makes of each part by its share of the weights.

    A joined map is the largest of its stage: writing it, keeping it for the gradient and taking its gradient apart
    again costs more than one more addition. The sum is another order of the same; in bf16 each part is rounded.

    Args:
        convolution: whose weights are one tensor (width, channels of all parts, …), as in files of weights.
        parts: each (batch, channel, row, column), of one size.
    """
    if len(parts) == 1:
        return convolution(parts[0])
    shares = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    (first, *rest), (share, *others) = parts, shares
    joined = convolution._conv_forward(first, share, convolution.bias)
    for part, share in zip(rest, others, strict=True):
        joined = joined.add_(convolution._conv_forward(part, share, None))
    return joined
