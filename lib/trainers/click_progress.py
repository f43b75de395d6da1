"""Progress of a training of the model for clicks, in the form of MONAI Label's training statistics."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

from lib.storage.json_values import finite
from lib.storage.state_file import StateFile
from lib.trainers.training_progress import seconds_left
from lib.training.run_settings import LoopSettings


class ClickProgress:
    """Statistics over all trainings of a candidate; an epoch is ``save_every`` steps.

    Args:
        file: File from ``stats_file``.
        trainings: Number of trainings.
        settings: Settings of each.
    """

    def __init__(self, file: StateFile[dict[str, Any]], trainings: int, settings: LoopSettings) -> None:
        self._file = file
        self._start = time.time()
        self._epoch = 0
        self._epochs = trainings * math.ceil(settings.steps / settings.save_every)
        self.write()

    def next(self) -> None:
        """Count an epoch, and write the statistics."""
        self._epoch += 1
        self.write()

    def write(self, **conclusion: Any) -> None:
        """Write the current state of the training, with its conclusion at the end."""
        now = time.time()
        duration = str(timedelta(seconds=int(now - self._start)))
        stats = {
            "epoch": self._epoch,
            "total_epochs": self._epochs,
            "seconds_left": seconds_left(now - self._start, self._epoch, self._epochs),
            "start_ts": int(self._start),
            "total_time" if conclusion else "current_time": duration,
            "updated": now,
        }
        self._file.write(finite({**stats, **conclusion}))
