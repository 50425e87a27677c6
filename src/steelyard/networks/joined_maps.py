"""Convolution of maps that belong side by side, such as an encoder's and a decoder's, without copying them there."""

from __future__ import annotations

from torch import Tensor, nn

from steelyard.networks.convolution import conv2d


def convolve_joined(convolution: nn.Module, *parts: Tensor) -> Tensor:
    """`convolution(torch.cat(parts, dim=1))`, as the sum of what it makes of each part by its share of the weights.

    A joined map is the largest of its stage: writing it, keeping it for the gradient and taking its gradient apart
    again costs at least as much as one more addition. The sum is the same in another order; in bf16 each part of it is
    rounded.

    Args:
        convolution: a Conv2d, whose weights are one tensor (width, channels of all parts, …), as in files of weights;
            for one part any layer.
        parts: each (batch, channel, row, column), of one size.
    """
    if len(parts) == 1:
        alone: Tensor = convolution(parts[0])
        return alone
    assert isinstance(convolution, nn.Conv2d)
    stride, padding, dilation = convolution.stride, convolution.padding, convolution.dilation

    def convolve(part: Tensor, share: Tensor, bias: Tensor | None) -> Tensor:
        return conv2d(part, share, bias, stride, padding, dilation)

    shares = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    joined = convolve(parts[0], shares[0], convolution.bias)
    for part, share in zip(parts[1:], shares[1:], strict=True):
        joined = joined.add_(convolve(part, share, None))
    return joined
