"""Weights from a file into a network."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.errors import UserError, in_one_line


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the weights of a file into ``network``, in place.

    Args:
        network: Of the widths that the weights were trained with.
        path: File with a ``state_dict``, by itself or under ``model``.

    Raises:
        UserError: There is no such file, it is damaged, or its weights are of another network.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There are no weights at {path}.") from None
    load_weights_content(network, content, f"at {path}")


def load_weights_content(network: nn.Module, content: bytes, origin: str) -> None:
    """Load the bytes of a weights file into ``network``, in place.

    Args:
        network: Of the widths that the weights were trained with.
        content: A ``state_dict``, by itself or under ``model``.
        origin: Where the weights come from, for the message.

    Raises:
        UserError: They are damaged, or of another network.
    """
    try:
        state = state_of(content)
    except ValueError as error:
        raise UserError(f"The weights {origin} cannot be read: {error}.") from error
    try:
        load_state(network, state)
    except ValueError as error:
        raise UserError(f"The weights {origin} are of another network: {error}.") from error


def state_of(content: bytes) -> dict[str, Any]:
    """Return the ``state_dict`` in the bytes of a weights file.

    Raises:
        ValueError: There is none.
    """
    try:
        content = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return content.get("model", content)
    except Exception as error:  # torch raises whatever foreign bytes make of it
        raise ValueError(in_one_line(error)) from error


def load_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Put a ``state_dict`` into ``network``, in place.

    Raises:
        ValueError: It is of another network.
    """
    try:
        network.load_state_dict(state)
    except Exception as error:  # RuntimeError for names and shapes; others where its values are no tensors
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(lines[min(1, len(lines) - 1)].strip().rstrip(".")) from error


def check_usable(network: nn.Module, path: Path) -> None:
    """See that a file holds weights that ``network``, which stays as it is, can work with.

    Raises:
        UserError: They are of another network, or a value is not a finite number.
    """
    trial = copy.deepcopy(network)
    load_weights(trial, path)
    broken = [name for name, values in trial.state_dict().items() if not torch.isfinite(values).all()]
    if broken:
        raise UserError(
            f"The weights are not usable: {broken[0]}{' and others' if len(broken) > 1 else ''} hold values that are "
            "no finite numbers. The training that made them diverged; a lower learning rate may help."
        )
