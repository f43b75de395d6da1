"""Models in workers of a cluster, which load each once for many tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib.cluster.loaded import loaded_once
from lib.inference.kept_outputs import predictor_with
from lib.inference.model_description import ModelDescription
from lib.inference.predictor import Predictor
from lib.inference.weights_source import PinnedWeights


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
        return loaded_once(self.key, lambda: predictor_with(self.model, self.weights, self.outputs))
