"""The weights in use, as a predictor loads them."""

from __future__ import annotations

from torch import nn

from lib.inference import WeightsId
from lib.publishing.model_store import ModelStore, Serving


class ServingWeights:
    """A `WeightsSource` of the version that a store serves, compared with its hash whenever it is loaded.

    Args:
        store: Of the versions.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def current(self) -> WeightsId:
        """Return the version in use."""
        return _weights_id(self._store.serving())

    def load(self, network: nn.Module) -> WeightsId:
        """Load the version in use into ``network``, in place.

        Raises:
            UserError: There are no weights, or they are of another network.
        """
        return _weights_id(self._store.load_serving(network))


def _weights_id(serving: Serving) -> WeightsId:
    return WeightsId(serving.version, serving.path, serving.path.stat().st_mtime_ns if serving.path else 0)
