"""Where a predictor gets its weights from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from lib.networks.weights import load_weights, load_weights_content


@dataclass(frozen=True)
class WeightsId:
    """Identity of the weights of a network; two equal ones need no reload.

    Attributes:
        version: Id of the model version; None for weights that are not a version.
        path: File of the weights; None if there is none.
        changed_ns: Modification time of the file: the shipped weights may be replaced under their name.
    """

    version: str | None = None
    path: Path | None = None
    changed_ns: int = 0

    def __str__(self) -> str:
        return f"version {self.version} of the model" if self.version else "the network"


class WeightsSource(Protocol):
    """Weights to predict with; a source may offer other weights later, as a model store does."""

    def current(self) -> WeightsId:
        """Return which weights `load` would load now."""

    def load(self, network: nn.Module) -> WeightsId:
        """Load the current weights into ``network``, in place, and return which they are.

        Raises:
            UserError: There are none, or they are damaged or of another network.
        """


class WeightsFile:
    """Weights in a file that does not change meanwhile.

    Args:
        path: File with a ``state_dict``, by itself or under ``model``.
    """

    def __init__(self, path: Path) -> None:
        self._id = WeightsId(path=path)
        self._path = path

    def current(self) -> WeightsId:
        """Return the identity of the file."""
        return self._id

    def load(self, network: nn.Module) -> WeightsId:
        """Load the file into ``network``, in place; see `load_weights`."""
        load_weights(network, self._path)
        return self._id


class WeightsContent:
    """Weights in memory.

    Args:
        content: Bytes of a file with a ``state_dict``, by itself or under ``model``.
        version: Id of the model version that they are.
    """

    def __init__(self, content: bytes, version: str) -> None:
        self._id = WeightsId(version)
        self._content = content

    def current(self) -> WeightsId:
        """Return the identity of the weights."""
        return self._id

    def load(self, network: nn.Module) -> WeightsId:
        """Load the weights into ``network``, in place; see `load_weights_content`."""
        load_weights_content(network, self._content, f"of {self._id}")
        return self._id
