"""Predictor that keeps what the network returned, to judge it with several second stages without running it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lib.inference.model_description import ModelDescription
from lib.inference.predictor import NetworkOutput, Predictor
from lib.inference.weights_source import WeightsSource
from lib.storage.atomic import make_folder, write_atomically

_IMPOSSIBLE = -8.0  # logits below are not told apart; the probability is 0.0003


class KeepingPredictor(Predictor):
    """Predictor whose network runs once for each image with the same weights, whatever file these are in.

    The logits are kept in half precision.

    Args:
        model: The model without its weights.
        weights: Source of the weights, which must not change.
        folder: Folder of the files, which may be shared by several predictors of one model.
    """

    def __init__(self, model: ModelDescription, weights: WeightsSource, folder: Path) -> None:
        super().__init__(model, weights)
        make_folder(folder)
        self._folder = folder
        self._network_id = ""

    def run(self, data: Mapping[str, Any], *arguments: Any, **options: Any) -> NetworkOutput:
        """Return the kept output of the same weights and image file, after running the network if there is none."""
        loaded = self.load(options.get("device"))
        self._network_id = self._network_id or _digest(loaded.network)
        name = hashlib.sha256(str(data["image"].meta["filename_or_obj"]).encode()).hexdigest()
        path = self._folder / f"{self._network_id[:16]}-{name[:16]}.npz"
        if not path.exists():
            logits = super().run(data, *arguments, **options).logits.clamp(min=_IMPOSSIBLE)
            kept = logits.half().numpy()
            write_atomically(path, lambda part: np.savez_compressed(part, logits=kept))  # workers may be killed
        logits = torch.from_numpy(np.load(path)["logits"]).float()
        return NetworkOutput(logits, None, loaded.weights, loaded.judge or self.model.judge)


def predictor_with(outputs: Path | None, model: ModelDescription, weights: WeightsSource) -> Predictor:
    """Return a predictor that keeps the outputs of its network in a folder, if one is given."""
    return KeepingPredictor(model, weights, outputs) if outputs else Predictor(model, weights)


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
