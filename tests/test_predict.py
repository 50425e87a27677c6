"""From slices to probabilities on the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from masks import TWO_ORGANS, grid
from steelyard.predict import SLICES_AT_ONCE, predict_classes, predict_logits, predict_probabilities, to_label_map
from steelyard.preprocess.cache import PreparedCase
from steelyard.preprocess.resize import PlaneMap, crop_or_pad
from tiny_network import TinyNetwork

CPU = torch.device("cpu")


class Thresholds(nn.Module):
    """Logit of class c: −8 |intensity − c|, of the first channel. Counts the slices it is given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return -8 * (images[:, :1] - torch.arange(3)[:, None, None]).abs()


def prepared(images: np.ndarray, plane: PlaneMap) -> PreparedCase:
    return PreparedCase("7_in", "7", "T1", images.astype(np.float32), None, plane)


def test_slices_go_in_portions_and_come_back_in_order():
    network = Thresholds()
    images = torch.arange(2 * SLICES_AT_ONCE + 3)[:, None, None, None] * torch.ones(1, 1, 4, 5)
    logits = predict_logits(network, images, precision="fp32")
    assert network.seen == [SLICES_AT_ONCE, SLICES_AT_ONCE, 3]
    assert torch.equal(logits, Thresholds()(images))


def test_prediction_is_in_eval_mode_without_gradients_and_moves_no_statistics():
    torch.manual_seed(0)
    network = TinyNetwork(1, 3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(5, 1, 8, 8)
    logits = predict_logits(network, images, precision="fp32")
    assert not logits.requires_grad
    assert torch.equal(logits, predict_logits(network, images, precision="fp32"))  # no dropout
    torch.testing.assert_close(logits[2:3], predict_logits(network, images[2:3], precision="fp32"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bf16_answers_in_float32_within_its_own_precision():
    torch.manual_seed(0)
    network, images = TinyNetwork(1, 3), torch.randn(2, 1, 8, 8)
    exact, short = (predict_logits(network, images, precision=precision) for precision in ("fp32", "bf16"))
    assert short.dtype == torch.float32
    assert not torch.equal(exact, short)
    torch.testing.assert_close(short, exact, rtol=0.05, atol=0.05)


def test_the_most_probable_class_wins():
    images = torch.tensor([0.2, 0.9, 1.4, 1.8]).reshape(1, 1, 2, 2)
    classes = predict_classes(Thresholds(), images, precision="fp32")
    assert classes.tolist() == [[[0, 1], [1, 2]]]
    assert classes.dtype == torch.uint8


def test_probabilities_come_back_on_the_scans_grid_as_class_slice_row_column():
    """A scan of 6 × 10 pixels, its middle 4 × 4 seen by the network: class 1 in one corner, class 2 in another."""
    images = np.zeros((2, 1, 4, 4))
    images[0, 0, 0, 3], images[1, 0, 2, 1] = 1, 2
    case = prepared(images, crop_or_pad((6, 10), 4))
    probabilities = predict_probabilities(Thresholds(), case, context=0, device=CPU, precision="fp32")
    assert probabilities.shape == (3, 2, 6, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-6)
    labels = to_label_map(probabilities, grid((2, 6, 10)), TWO_ORGANS).labels
    assert np.argwhere(labels == 1).tolist() == [[0, 1, 6]]  # network (0, 3) + first pixel in view (1, 3)
    assert np.argwhere(labels == 2).tolist() == [[1, 3, 4]]
    assert (probabilities[0, :, 0] == 1).all()
    inside = probabilities[1, 0, 1, 6]
    assert inside == pytest.approx(1 / (1 + 2 * np.exp(-8)), rel=1e-5)


def test_probabilities_and_not_classes_are_resampled():
    """Half-way between a pixel of class 0 and one of class 1 both are equally probable; the lower index wins."""
    images = np.zeros((1, 1, 4, 4))
    images[..., 2:] = 1
    case = prepared(images, PlaneMap((7, 7), 4, (2.0, 2.0), (0.0, 0.0)))
    probabilities = predict_probabilities(Thresholds(), case, context=0, device=CPU, precision="fp32")
    assert probabilities[0, 0, 3, 3] == pytest.approx(0.5, abs=1e-3)
    assert probabilities[1, 0, 3, 3] == pytest.approx(0.5, abs=1e-3)
    equal = np.full((3, 1, 1, 1), 1 / 3)
    assert to_label_map(equal, grid((1, 1, 1)), TWO_ORGANS).labels.tolist() == [[[0]]]


def test_context_is_given_to_the_network_as_in_training():
    """The network looks at the first channel: with one neighbour that is the slice below."""
    images = np.array([0, 1, 2])[:, None, None, None] * np.ones((1, 1, 4, 4))
    case = prepared(images, crop_or_pad((4, 4), 4))
    probabilities = predict_probabilities(Thresholds(), case, context=1, device=CPU, precision="fp32")
    assert probabilities.argmax(0)[:, 0, 0].tolist() == [0, 0, 1]


def test_images_without_channels_break_the_signature():
    with pytest.raises(TypeCheckError, match="images"):
        predict_logits(Thresholds(), torch.zeros(3, 4, 4), precision="fp32")
