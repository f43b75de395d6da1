"""Source of the weights in use, for a predictor."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from lib.inference import LoadedWeights, PinnedWeights, WeightsId
from lib.inference.candidate_judge import judge_in
from lib.publishing.model_store import ModelStore, Serving


class ServingWeights:
    """`WeightsSource` of the version in use; its checksum is verified whenever it is loaded.

    Args:
        store: Store of the versions.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def current(self) -> WeightsId:
        """Return the identity of the weights in use."""
        return _weights_id(self._store.serving())

    def load(self, network: nn.Module) -> LoadedWeights:
        """Load the weights in use into ``network``, in place, and return their identity and second stage.

        Raises:
            UserError: There are no usable weights, or they do not match the network.
        """
        serving, content = self._store.load_serving(network)
        return LoadedWeights(_weights_id(serving), judge_in(content, f"of version {serving.version}"))

    def pinned(self, folder: Path) -> PinnedWeights:
        """Return the weights in use, in their own file.

        Raises:
            UserError: There are no usable weights.
        """
        serving, content = self._store.read_serving()
        assert serving.path, "was just read"
        return PinnedWeights(serving.path, hashlib.sha256(content).hexdigest(), serving.version)


def _weights_id(serving: Serving) -> WeightsId:
    return WeightsId(serving.version, serving.path, serving.path.stat().st_mtime_ns if serving.path else 0)
