"""Loading and checking of network weights."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.errors import UserError, in_one_line


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a weights file into ``network``, in place.

    Args:
        network: Network with the architecture that the weights were trained with.
        path: File with a ``state_dict``, at the top level or under ``model``.

    Raises:
        UserError: The file is missing or damaged, or its weights do not match the network.
    """
    load_weights_content(network, read_weights(path), f"at {path}")


def read_weights(path: Path) -> bytes:
    """Return the bytes of a weights file.

    Raises:
        UserError: The file is missing.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There are no weights at {path}.") from None


def load_weights_content(network: nn.Module, content: bytes, origin: str) -> None:
    """Load the bytes of a weights file into ``network``, in place.

    Args:
        network: Network with the architecture that the weights were trained with.
        content: A ``state_dict``, at the top level or under ``model``.
        origin: Where the weights come from, for the message.

    Raises:
        UserError: The weights are damaged or do not match the network.
    """
    try:
        state = state_of(content)
    except ValueError as error:
        raise UserError(f"The weights {origin} cannot be read: {error}.") from error
    try:
        load_state(network, state)
    except ValueError as error:
        raise UserError(f"The weights {origin} do not match the network: {error}.") from error


def state_of(content: bytes) -> dict[str, Any]:
    """Return the ``state_dict`` in the bytes of a weights file.

    Raises:
        ValueError: The bytes contain none.
    """
    try:
        loaded = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return loaded.get("model", loaded)
    except Exception as error:  # torch raises many kinds for files of other formats
        raise ValueError(in_one_line(error)) from error


def entry_of(content: bytes, name: str) -> Any:
    """Return an entry beside the ``state_dict`` in the bytes of a readable weights file; None if there is none."""
    loaded = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return loaded.get(name) if "model" in loaded else None


def load_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Load a ``state_dict`` into ``network``, in place.

    Raises:
        ValueError: It does not match the network.
    """
    try:
        network.load_state_dict(state)
    except Exception as error:  # RuntimeError for names and shapes; other kinds if values are not tensors
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(lines[min(1, len(lines) - 1)].strip().rstrip(".")) from error


def check_usable(network: nn.Module, path: Path) -> None:
    """Check that a file contains finite weights for ``network``, which is not modified.

    Raises:
        UserError: The weights do not match the network, or a value is not finite.
    """
    trial = copy.deepcopy(network)
    load_weights(trial, path)
    broken = [name for name, values in trial.state_dict().items() if not torch.isfinite(values).all()]
    if broken:
        raise UserError(
            f"The weights are not usable: {broken[0]}{' and others' if len(broken) > 1 else ''} have values that are "
            "not finite. The training diverged; a lower learning rate may help."
        )
