"""Definition of a model without its weights."""

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
    """Everything that a `Predictor` needs besides weights.

    Attributes:
        network: Returns a new, untrained network.
        preprocessing: Section ``preprocessing`` of info.yaml that the network was trained with.
        options: Default inference options.
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
        """HU per unit of the normalised image."""
        return float(self.preprocessing["hu_std"])
