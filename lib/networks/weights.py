"""Weights from a file into a network."""

from pathlib import Path

import torch
from torch import nn

from lib.errors import UserError


def load_weights(network: nn.Module, path: Path) -> None:
    """Load what training wrote into ``network``, in place.

    Args:
        network: Of the widths that the weights were trained with.
        path: File with a ``state_dict``, by itself or under ``model``.

    Raises:
        UserError: There is no such file, or its weights are of another network.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise UserError(f"There are no weights at {path}.") from None
    try:
        network.load_state_dict(state.get("model", state))
    except RuntimeError as error:
        raise UserError(
            f"The weights at {path} are of another network: {str(error).splitlines()[1].strip()}"
        ) from error
