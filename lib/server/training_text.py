"""What the panel and the status page say about the running training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_training(stats: Mapping[str, Any]) -> str:
    """Return a sentence about the progress of a training.

    Args:
        stats: Its statistics so far, see `lib.trainers.training_progress`; empty before its first epoch.
    """
    epoch, total = stats.get("epoch"), stats.get("total_epochs")
    if not epoch or not total:
        return "Preparing the training…"
    if epoch < total:
        left = stats.get("seconds_left")
        return f"Training: epoch {epoch} of {total} done" + (f", about {_minutes(left)} left" if left else "")
    text = "Training: the new model is compared with the one in use"
    if stats.get("measured"):
        text += f", {stats['measured']} of {stats['to_measure']} measurements done"
    if (dice := stats.get("measured_dice")) is not None:
        text += f"; Dice of the new model {dice:.2f} so far"
    return text


def _minutes(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return "a minute" if minutes == 1 else f"{minutes} minutes"
