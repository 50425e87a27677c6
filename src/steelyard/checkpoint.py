"""A training's state on disk: written whole or not at all, read without running any code from the file."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from steelyard.errors import BadData
from steelyard.runstore import write_bytes


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next epoch depends on: `epoch` epochs are done, the next one has that index."""

    epoch: int
    network: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    history: list[dict[str, Any]]


def save_state(path: Path, state: TrainingState) -> None:
    """One file, replaced atomically."""
    content = {
        "epoch": state.epoch,
        "network": dict(state.network),
        "optimiser": dict(state.optimiser),
        "history": state.history,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path) -> TrainingState | None:
    """The state, None where there is no file yet, `BadData` where the file is damaged."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch itself reads changed numbers without a word
                raise zipfile.BadZipFile(damaged)
        return TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except (
        RuntimeError,
        TypeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise BadData(
            f"a training state was wanted in {path}, but it cannot be read. Delete it to start anew."
        ) from error


def save_weights(path: Path, network: nn.Module) -> None:
    """The network's parameters and buffers as safetensors."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_bytes(path, save(tensors))


def load_weights(path: Path, network: nn.Module) -> None:
    """Fill the network from a safetensors file.

    Raises:
        BadData: the file is damaged or made for another network, which is then left as it was.
    """
    try:
        came = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadData(
            f"weights were wanted in {path}, but it cannot be read ({reason}). Train the run again."
        ) from error
    wanted = network.state_dict()
    differ = [name for name in wanted | came if name not in wanted or name not in came]
    differ += [name for name in wanted.keys() & came.keys() if wanted[name].shape != came[name].shape]
    if differ:
        raise BadData(
            f"{path} holds the weights of another network: {len(differ)} tensors differ in name or shape, among them "
            f"{min(differ)}. Build the network as the run that made the file did."
        )
    network.load_state_dict(came)
