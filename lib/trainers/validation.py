"""Scores on the patients held out while a training runs: they choose its weights, and end it in time."""

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
    """To be called after each epoch: scores the network just as the gate does, and keeps the best weights.

    Args:
        network: That trains.
        cases: Of the patients held out; where there are none, nothing happens.
        model: The model without its weights.
        folder: Of the run, for weights.
        interval: Epochs between two looks; the last epoch is looked at too.
        patience: The training ends after so many looks without a better Dice; 0 for never.
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
        self._looks_since_better = 0
        self.best: Scores | None = None
        self.history: list[dict[str, float]] = []

    @property
    def weights(self) -> Path:
        """Of the epoch with the best scores so far."""
        return self._folder / "best.pt"

    def __call__(self, trainer: Engine) -> None:
        """Look, if it is time, and end the training if it has not got better for long."""
        epoch = trainer.state.epoch
        epochs = trainer.state.max_epochs or epoch
        if not self._cases or (epoch % self._interval and epoch < epochs):
            return
        now = self._folder / "now.pt"
        torch.save({"model": self._network.state_dict()}, now)
        try:
            scores = score(WeightsFile(now), self._cases, self._model)
        except NotFiniteError:
            logger.warning("Epoch %d: the network gives no numbers any more; the training ends here.", epoch)
            trainer.terminate()
            return
        self.history.append({"epoch": epoch, "dice": scores.dice, "false_positives": scores.false_positives})
        logger.info("Epoch %d of %d, patients held out: %s", epoch, epochs, self.history[-1])
        self._looks_since_better += 1
        if math.isfinite(scores.dice) and (self.best is None or scores.dice > self.best.dice):
            self._looks_since_better = 0
            self.best = scores
            now.replace(self.weights)
        elif 0 < self._patience <= self._looks_since_better:
            logger.info("No better for %d looks: the training ends early.", self._looks_since_better)
            trainer.terminate()

    def stats(self) -> dict[str, Any]:
        """What MONAI Label's clients know as the evaluator's; empty as long as there was no look."""
        if not self.history:
            return {}
        last, best = self.history[-1], max(self.history, key=lambda look: look["dice"])
        metrics = {"val_mean_dice": last["dice"], "val_false_positives": last["false_positives"]}
        evaluator = {"metrics": metrics, "best_metric": best["dice"], "best_metric_epoch": best["epoch"]}
        return {"eval": evaluator, "best_metric": best["dice"]}
