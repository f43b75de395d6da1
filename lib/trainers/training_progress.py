"""Progress of a training, in a file that the server reads while the training process writes it."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from monailabel.tasks.train.basic_train import Context
from monailabel.tasks.train.handler import prepare_stats

from lib.atomic import write_json
from lib.trainers.validation import Validation


class TrainingProgress:
    """MONAI Label's training statistics, written whole or not at all.

    Args:
        path: Of the file.
        context: Of the training, with its trainer.
        validation: Of the training.
    """

    def __init__(self, path: Path, context: Context, validation: Validation) -> None:
        self._path = path
        self._context = context
        self._validation = validation

    def write(self, **conclusion: Any) -> None:
        """Write the state of the training now, and at its end what became of it."""
        context = self._context
        stats = prepare_stats(context.start_ts, context.trainer, None) | self._validation.stats()
        stats["total_epochs"] = context.max_epochs
        stats["updated"] = time.time()
        write_json(self._path, _without_nan({**stats, **conclusion}))

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """What was written last; empty if nothing was."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN; a metric that there is not yet is null."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
