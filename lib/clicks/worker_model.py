"""The model for clicks in workers of a cluster, which load it once for many tasks."""

from __future__ import annotations

from dataclasses import dataclass

from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor
from lib.cluster.loaded import loaded_once
from lib.inference import PinnedWeights


@dataclass(frozen=True)
class WorkerClickModel:
    """The model for clicks as it is sent to workers, without the model for whole scans.

    Attributes:
        key: Another one for each combination of the other attributes.
        weights: Its weights, in a file that the workers see.
        model: The model without them.
    """

    key: str
    weights: PinnedWeights
    model: ClickModel

    def predictor(self) -> ClickPredictor:
        """Return the predictor of this process, which loads the weights when it first runs."""
        return loaded_once(self.key, lambda: ClickPredictor(self.model, self.weights))
