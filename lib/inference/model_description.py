"""Definition of a model without its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge
from lib.networks import AttentionResidualUNet
from lib.settings import InferenceOptions


@dataclass(frozen=True)
class ModelDescription:
    """Everything that a `Predictor` needs besides weights.

    Attributes:
        network: Returns a new, untrained network.
        preprocessing: Section ``preprocessing`` of info.yaml that the network was trained with.
        options: Default inference options.
        judge: Second stage, which gives each candidate lesion a confidence; None keeps all candidates.
    """

    network: Callable[[], nn.Module]
    preprocessing: Mapping[str, Any]
    options: InferenceOptions
    judge: CandidateJudge | None = None

    @classmethod
    def from_info(cls, info: Mapping[str, Any], model_dir: Path | None = None) -> ModelDescription:
        """Return the model that info.yaml describes in ``network``, ``preprocessing`` and ``config.infer``.

        Args:
            info: ``info.yaml``.
            model_dir: Folder with the classifier of candidates; without the file, or with None, all are kept.

        Raises:
            UserError: The classifier is damaged.
        """
        classifier = model_dir / CLASSIFIER_FILE if model_dir else None
        return cls(
            network=partial(AttentionResidualUNet, **info["network"]),
            preprocessing=info["preprocessing"],
            options=InferenceOptions.model_validate(info["config"]["infer"]),
            judge=CandidateJudge.from_file(classifier) if classifier and classifier.exists() else None,
        )

    @property
    def hu_std(self) -> float:
        """HU per unit of the normalised image."""
        return float(self.preprocessing["hu_std"])
