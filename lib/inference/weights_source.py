"""Sources of the weights of a predictor: a file, bytes in memory, or a model store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import nn

from lib.errors import UserError
from lib.inference.candidate_judge import CandidateJudge, judge_in
from lib.networks.weights import load_weights_content, read_weights
from lib.storage.atomic import write_atomically


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


class LoadedWeights(NamedTuple):
    """Weights that were loaded into a network.

    Attributes:
        id: Their identity.
        judge: Second stage that was trained with them; None if that of the model applies.
    """

    id: WeightsId
    judge: CandidateJudge | None = None


class WeightsSource(Protocol):
    """Source of weights, which may change, as those of a model store do."""

    def current(self) -> WeightsId:
        """Return the identity of the weights that `load` would load now."""

    def load(self, network: nn.Module) -> LoadedWeights:
        """Load the current weights into ``network``, in place, and return their identity and second stage.

        Raises:
            UserError: The weights are missing or damaged, or do not match the network.
        """

    def pinned(self, folder: Path) -> PinnedWeights:
        """Return the current weights as a file.

        Args:
            folder: Folder for it, if the source has none; processes elsewhere see it, too.

        Raises:
            UserError: The weights are missing or damaged.
        """


@dataclass(frozen=True)
class PinnedWeights:
    """`WeightsSource` of a file with a known content: for processes elsewhere, which must not use any other.

    Attributes:
        path: The file.
        sha256: Checksum of its content.
        version: Id of the model version; None for weights that are not a version.
    """

    path: Path
    sha256: str
    version: str | None = None

    @classmethod
    def of(cls, path: Path) -> PinnedWeights:
        """Return the weights that a file has now.

        Raises:
            UserError: The file is missing.
        """
        return cls(path.resolve(), _sha256(read_weights(path)))

    def current(self) -> WeightsId:
        """Return the identity of the weights."""
        return WeightsId(self.version, self.path)

    def load(self, network: nn.Module) -> LoadedWeights:
        """Load the weights into ``network``, in place; see `load_weights_content`.

        Raises:
            UserError: The file is missing, has another content, or its weights do not match the network.
        """
        content, origin = read_weights(self.path), f"at {self.path}"
        if _sha256(content) != self.sha256:
            raise UserError(f"The weights {origin} have changed since they were chosen. Start again.")
        load_weights_content(network, content, origin)
        return LoadedWeights(self.current(), judge_in(content, origin))

    def pinned(self, folder: Path) -> PinnedWeights:
        """Return these weights."""
        return self


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

    def load(self, network: nn.Module) -> LoadedWeights:
        """Load the file into ``network``, in place; see `load_weights`."""
        content, origin = read_weights(self._path), f"at {self._path}"
        load_weights_content(network, content, origin)
        return LoadedWeights(self._id, judge_in(content, origin))

    def pinned(self, folder: Path) -> PinnedWeights:
        """Return the weights that the file has now."""
        return PinnedWeights.of(self._path)


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

    def load(self, network: nn.Module) -> LoadedWeights:
        """Load the weights into ``network``, in place; see `load_weights_content`."""
        origin = f"of {self._id}"
        load_weights_content(network, self._content, origin)
        return LoadedWeights(self._id, judge_in(self._content, origin))

    def pinned(self, folder: Path) -> PinnedWeights:
        """Write the weights into ``folder`` and return that file."""
        sha256 = _sha256(self._content)
        pinned = PinnedWeights((folder / f"{sha256}.pt").resolve(), sha256, self._id.version)
        write_atomically(pinned.path, lambda part: part.write_bytes(self._content))
        return pinned


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
