"""What defines a model besides its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from lib.networks import AttentionResidualUNet
from lib.settings import InferenceOptions


@dataclass(frozen=True)
class ModelDescription:
    """A model without its weights: all that a `Predictor` needs to know about it.

    Attributes:
        network: Returns a new, untrained network.
        preprocessing: Section ``preprocessing`` of info.yaml; the network was trained with it.
        options: Inference options, unless a run is given others.
    """

    network: Callable[[], nn.Module]
    preprocessing: Mapping[str, Any]
    options: InferenceOptions

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> ModelDescription:
        """Return the model that info.yaml describes in ``network``, ``preprocessing`` and ``config.infer``."""
        return cls(
            network=partial(AttentionResidualUNet, **info["network"]),
            preprocessing=info["preprocessing"],
            options=InferenceOptions.model_validate(info["config"]["infer"]),
        )

    @property
    def hu_std(self) -> float:
        """HU in one unit of the normalised image."""
        return float(self.preprocessing["hu_std"])
