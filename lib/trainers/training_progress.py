"""Progress of a training, in a file that the server reads while the training process writes it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from monailabel.tasks.train.basic_train import Context
from monailabel.tasks.train.handler import prepare_stats
from pydantic import BaseModel

from lib.storage.json_values import finite
from lib.storage.state_file import StateFile
from lib.trainers.validation import Validation


class TrainingProgress:
    """MONAI Label's training statistics, written whole or not at all.

    Args:
        file: Of ``stats_file``.
        context: Of the training, with its trainer.
        validation: Of the training.
    """

    def __init__(self, file: StateFile[dict[str, Any]], context: Context, validation: Validation) -> None:
        self._file = file
        self._context = context
        self._validation = validation

    def write(self, **conclusion: Any) -> None:
        """Write the state of the training now, and at its end what became of it."""
        context = self._context
        stats = prepare_stats(context.start_ts, context.trainer, None) | self._validation.stats()
        stats["total_epochs"] = context.max_epochs
        stats["updated"] = time.time()
        self._file.write(finite({**stats, **conclusion}))


def stats_file(path: Path) -> StateFile[dict[str, Any]]:
    """The file of the statistics: what it says is shown, nothing depends on it."""
    return StateFile(path, _stats, "What became of the last training is not shown; the versions it kept are there.")


class _ReportedVerdict(BaseModel):
    reason: str


class _Stats(BaseModel):
    """What viewers and the status page rely on."""

    epoch: int | None = None
    total_epochs: int | None = None
    version: str | None = None
    verdict: _ReportedVerdict | None = None


def _stats(content: Any) -> dict[str, Any]:
    _Stats.model_validate(content, strict=True)
    return content
