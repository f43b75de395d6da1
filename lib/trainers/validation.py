"""Validation on the held-out patients during a training, for checkpoint selection and early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from lib.inference import ModelDescription, WeightsFile
from lib.inference.finite import NotFiniteError
from lib.publishing.gate import Scores
from lib.publishing.held_out_scores import score

logger = logging.getLogger(__name__)


class Validation:
    """Handler of completed epochs that scores the network as the gate does, and keeps the best weights.

    Args:
        network: The network in training.
        cases: Cases of the held-out patients; without any, nothing is done.
        model: The model without its weights.
        folder: Folder of the run, for weights.
        interval: Epochs between validations; the last epoch is always validated.
        patience: Validations without a better Dice after which the training ends; 0 for never.
    """

    def __init__(
        self,
        network: nn.Module,
        cases: Sequence[dict[str, Any]],
        model: ModelDescription,
        folder: Path,
        *,
        interval: int,
        patience: int,
    ) -> None:
        self._network = network
        self._cases = cases
        self._model = model
        self._folder = folder
        self._interval = interval
        self._patience = patience
        self._validations_since_best = 0
        self.best: Scores | None = None
        self.history: list[dict[str, float]] = []

    @property
    def weights(self) -> Path:
        """Weights file of the epoch with the best score so far."""
        return self._folder / "best.pt"

    def __call__(self, trainer: Engine) -> None:
        """Validate if it is due, and end the training if it has not improved for long."""
        epoch = trainer.state.epoch
        epochs = trainer.state.max_epochs or epoch
        if not self._cases or (epoch % self._interval and epoch < epochs):
            return
        now = self._folder / "now.pt"
        torch.save({"model": self._network.state_dict()}, now)
        try:
            scores = score(WeightsFile(now), self._cases, self._model)
        except NotFiniteError:
            logger.warning("Epoch %d: the network returns values that are not finite; ending the training.", epoch)
            trainer.terminate()
            return
        self.history.append({"epoch": epoch, "dice": scores.dice, "false_positives": scores.false_positives})
        logger.info("Epoch %d of %d, held-out patients: %s", epoch, epochs, self.history[-1])
        self._validations_since_best += 1
        if math.isfinite(scores.dice) and (self.best is None or scores.dice > self.best.dice):
            self._validations_since_best = 0
            self.best = scores
            now.replace(self.weights)
        elif 0 < self._patience <= self._validations_since_best:
            logger.info("No improvement in %d validations: ending the training early.", self._validations_since_best)
            trainer.terminate()

    def stats(self) -> dict[str, Any]:
        """Return the statistics of MONAI Label's evaluator; empty before the first validation."""
        if not self.history:
            return {}
        last, best = self.history[-1], max(self.history, key=lambda entry: entry["dice"])
        metrics = {"val_mean_dice": last["dice"], "val_false_positives": last["false_positives"]}
        evaluator = {"metrics": metrics, "best_metric": best["dice"], "best_metric_epoch": best["epoch"]}
        return {"eval": evaluator, "best_metric": best["dice"]}
