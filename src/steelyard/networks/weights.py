"""Starting an encoder from weights learned elsewhere, such as torchvision's ImageNet files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from steelyard.errors import BadData, BadSpec
from steelyard.networks.download import download

CLASSIFIER = ("fc.", "classifier.")  # what torchvision's files hold beyond the encoder
COUNTER = "num_batches_tracked"  # of batch normalisation: older files lack it, and nothing here reads it
RGB = 3


class Encoder(nn.Module):
    """The part of a classification network that a segmentation network builds on. Subclasses name their parameters as
    torchvision does."""

    imagenet_url: ClassVar[str]
    first_convolution: ClassVar[str]  # the weight that depends on the number of channels

    def start_from(self, weights: str | None) -> None:
        """Take the parameters from "imagenet" or a file (`read_weights`), or leave them as they are at None.

        Errors: those of `read_weights` and `load_encoder`.
        """
        if weights is not None:
            load_encoder(self, read_weights(weights, imagenet_url=self.imagenet_url), source=weights)


def load_encoder(encoder: Encoder, state: dict[str, Tensor], *, source: str) -> None:
    """Put `state` into `encoder`, its first convolution adapted to the encoder's channels (`adapt_channels`).

    The classifier in `state` (fc.*, classifier.*) is passed over; `source` names the file in errors.

    Errors: `BadData` for any other name that is missing, left over, or of another shape.
    """
    first = encoder.first_convolution
    wanted = encoder.state_dict()
    came = {name: value for name, value in state.items() if not name.startswith(CLASSIFIER)}
    if first in came and came[first].ndim == 4 and came[first].shape[1] == RGB:
        came[first] = adapt_channels(came[first], wanted[first].shape[1])
    complaints = [f"lacks {name}" for name in wanted if name not in came and not name.endswith(COUNTER)]
    complaints += [f"holds {name}, which the encoder has not" for name in came if name not in wanted]
    complaints += [
        f"holds {name} of shape {tuple(value.shape)}, not {tuple(wanted[name].shape)}"
        for name, value in came.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if complaints:
        more = f" (and {len(complaints) - 1} more such)" if len(complaints) > 1 else ""
        raise BadData(f"{source} {complaints[0]}{more}. Give a {type(encoder).__name__} file as torchvision writes it.")
    encoder.load_state_dict(came, strict=False)


def adapt_channels(
    kernel: Float[Tensor, "out rgb height width"], channels: int
) -> Float[Tensor, "out channels height width"]:
    """A first convolution for RGB, made for `channels` channels: W'_c = (W_R + W_G + W_B) / channels for every c.

    A grey image answers as before: with g in every channel, Σ_c W'_c g = (W_R + W_G + W_B) g. Three channels keep the
    RGB weights as they are, for which the same holds.
    """
    if channels == RGB:
        return kernel
    return kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def read_weights(weights: str, *, imagenet_url: str) -> dict[str, Tensor]:
    """Named tensors from "imagenet" (fetched once into torch.hub's folder), a torch file or a .safetensors file.

    A torch file is read with `weights_only`: no code in it runs.

    Errors: `BadSpec` where there is no such file, `BadData` where it holds no named tensors or cannot be fetched.
    """
    if weights == "imagenet":
        path = download(imagenet_url, Path(torch.hub.get_dir()) / "checkpoints")
    else:
        path = Path(weights).expanduser()
    if not path.is_file():
        raise BadSpec(f"weights {weights!r}: no such file. Give 'imagenet' or the path of a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        raise BadData(
            f"{path} cannot be read as weights ({type(error).__name__}). Give a whole .pth file of named tensors, "
            "or a .safetensors file."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadData(
            f"{path} holds {type(state).__name__}, not named tensors alone. Save a model's state_dict() to it."
        )
    return state
