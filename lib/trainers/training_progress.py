"""Progress of a training, in a file written by the training process and read by the server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monailabel.tasks.train.basic_train import Context
from monailabel.tasks.train.handler import prepare_stats
from pydantic import BaseModel

from lib.storage.json_values import finite
from lib.storage.state_file import StateFile


class TrainingProgress:
    """Training statistics of MONAI Label over all trainings of a candidate, written atomically.

    Args:
        file: File from ``stats_file``.
        total_epochs: Epochs of all trainings together.
    """

    def __init__(self, file: StateFile[dict[str, Any]], total_epochs: int) -> None:
        self._file = file
        self._total_epochs = total_epochs
        self._epochs_before = 0
        self._context: Context | None = None
        self._began = 0.0

    def follow(self, context: Context) -> None:
        """Write the state of another training, now and after each of its epochs."""
        if self._context is None:
            self._began = time.monotonic()
        else:
            self._epochs_before += self._context.max_epochs
        self._context = context
        self.write()
        context.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.write())

    def measured(self, done: int, total: int, dice: float) -> None:
        """Write how many of the measurements of patients are done, and the mean Dice of the new network so far."""
        self.write(measured=done, to_measure=total, measured_dice=dice)

    def write(self, **conclusion: Any) -> None:
        """Write the current state, with the conclusion at the end."""
        context = self._context
        assert context is not None, "a training has begun"
        stats = prepare_stats(context.start_ts, context.trainer, None)
        stats["epoch"] = self._epochs_before + context.trainer.state.epoch
        stats["total_epochs"] = self._total_epochs
        stats["seconds_left"] = seconds_left(time.monotonic() - self._began, stats["epoch"], self._total_epochs)
        stats["updated"] = time.time()
        self._file.write(finite({**stats, **conclusion}))


def seconds_left(seconds: float, done: int, total: int) -> float | None:
    """Return how many seconds the other epochs take if they are as fast as those done; None before the first."""
    return seconds / done * (total - done) if done else None


def stats_file(path: Path) -> StateFile[dict[str, Any]]:
    """Return the file of the statistics, which are only displayed."""
    return StateFile(path, _stats, "The result of the last training is not shown; the versions it kept are intact.")


class _ReportedVerdict(BaseModel):
    reason: str


class _Stats(BaseModel):
    """Fields required by the viewers and the status page."""

    epoch: int | None = None
    total_epochs: int | None = None
    seconds_left: float | None = None
    measured: int | None = None
    to_measure: int | None = None
    measured_dice: float | None = None
    version: str | None = None
    verdict: _ReportedVerdict | None = None


def _stats(content: Any) -> dict[str, Any]:
    _Stats.model_validate(content, strict=True)
    return content
