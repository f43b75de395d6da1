"""Progress of a training, in a file written by the training process and read by the server."""

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
    """Training statistics of MONAI Label, written atomically.

    Args:
        file: File from ``stats_file``.
        context: Context of the training, with its trainer.
        validation: Validation of the training.
    """

    def __init__(self, file: StateFile[dict[str, Any]], context: Context, validation: Validation) -> None:
        self._file = file
        self._context = context
        self._validation = validation

    def write(self, **conclusion: Any) -> None:
        """Write the current state of the training, with its conclusion at the end."""
        context = self._context
        stats = prepare_stats(context.start_ts, context.trainer, None) | self._validation.stats()
        stats["total_epochs"] = context.max_epochs
        stats["updated"] = time.time()
        self._file.write(finite({**stats, **conclusion}))


def stats_file(path: Path) -> StateFile[dict[str, Any]]:
    """Return the file of the statistics, which are only displayed."""
    return StateFile(path, _stats, "The result of the last training is not shown; the versions it kept are intact.")


class _ReportedVerdict(BaseModel):
    reason: str


class _Stats(BaseModel):
    """Fields required by the viewers and the status page."""

    epoch: int | None = None
    total_epochs: int | None = None
    version: str | None = None
    verdict: _ReportedVerdict | None = None


def _stats(content: Any) -> dict[str, Any]:
    _Stats.model_validate(content, strict=True)
    return content
