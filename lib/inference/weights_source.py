"""Sources of the weights of a predictor: a file, bytes in memory, or a model store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from lib.networks.weights import load_weights, load_weights_content


@dataclass(frozen=True)
class WeightsId:
    """Identity of weights; if it is unchanged, they need not be loaded again.

    Attributes:
        version: Id of the model version; None for weights that are not a version.
        path: File of the weights; None if there is none.
        changed_ns: Modification time of the file, because the shipped weights may be replaced under the same name.
    """

    version: str | None = None
    path: Path | None = None
    changed_ns: int = 0

    def __str__(self) -> str:
        return f"version {self.version} of the model" if self.version else "the network"


class WeightsSource(Protocol):
    """Source of weights, which may change, as those of a model store do."""

    def current(self) -> WeightsId:
        """Return the identity of the weights that `load` would load now."""

    def load(self, network: nn.Module) -> WeightsId:
        """Load the current weights into ``network``, in place, and return their identity.

        Raises:
            UserError: The weights are missing or damaged, or do not match the network.
        """


class WeightsFile:
    """Weights in a file that is not modified while in use.

    Args:
        path: File with a ``state_dict``, at the top level or under ``model``.
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
        content: Bytes of a file with a ``state_dict``, at the top level or under ``model``.
        version: Id of the model version.
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
