"""Inference from weights and a volume to a mask, shared by server, evaluation, scoring, publishing and commands."""

from lib.inference.findings import Finding
from lib.inference.model_description import ModelDescription
from lib.inference.predictor import Predictor
from lib.inference.weights_source import (
    LoadedWeights,
    PinnedWeights,
    WeightsContent,
    WeightsFile,
    WeightsId,
    WeightsSource,
)

__all__ = [
    "Finding",
    "LoadedWeights",
    "ModelDescription",
    "PinnedWeights",
    "Predictor",
    "WeightsContent",
    "WeightsFile",
    "WeightsId",
    "WeightsSource",
]
