"""Models in workers of a cluster, which load each once for many tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib.inference.kept_outputs import predictor_with
from lib.inference.model_description import ModelDescription
from lib.inference.predictor import Predictor
from lib.inference.weights_source import PinnedWeights

_MOST = 3  # models in a process
_LOADED: dict[str, Predictor] = {}  # by key; the oldest first


@dataclass(frozen=True)
class WorkerModel:
    """A model as it is sent to workers.

    Attributes:
        key: Another one for each combination of the other attributes.
        weights: Its weights, in a file that the workers see.
        model: The model without them.
        outputs: Folder that keeps the outputs of the network, see `KeepingPredictor`; None to keep none.
    """

    key: str
    weights: PinnedWeights
    model: ModelDescription
    outputs: Path | None = None

    def predictor(self) -> Predictor:
        """Return the predictor of this process, which loads the weights when it first runs."""
        if self.key not in _LOADED:
            while len(_LOADED) >= _MOST:
                _LOADED.pop(next(iter(_LOADED)))
            _LOADED[self.key] = predictor_with(self.model, self.weights, self.outputs)
        return _LOADED[self.key]
