"""Training by itself, once enough labels are new or changed since the last one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

Labels = dict[str, str]  # image id to checksum of its label


class Retraining(threading.Thread):
    """Starts a training when ``after`` labels differ from those of the last one; one at a time.

    What the last training knew is in the manifest of the version it made, published or not, so nothing is
    forgotten over a restart. A training that failed is not tried again with the same labels.

    Args:
        after: How many new or changed labels; 0 for never.
        labels: The labels in use.
        trained: The labels that the last finished training knew.
        running: Whether a training is running or queued.
        start: Starts one.
        seconds: Pause between two looks.
    """

    def __init__(
        self,
        after: int,
        *,
        labels: Callable[[], Labels],
        trained: Callable[[], Labels],
        running: Callable[[], bool],
        start: Callable[[], Any],
        seconds: float = 5.0,
    ) -> None:
        super().__init__(name="retraining", daemon=True)
        self._after = after
        self._labels = labels
        self._trained = trained
        self._running = running
        self._start = start
        self._seconds = seconds
        self._attempted: Labels = {}
        self._wake = threading.Event()

    def run(self) -> None:
        """Look, pause, look again, until the server ends."""
        while self._after > 0:
            try:
                self.look()
            except Exception:
                logger.exception("Could not see whether to retrain")
            self._wake.wait(self._seconds)
            self._wake.clear()

    def wake(self) -> None:
        """Look now: a label was submitted."""
        self._wake.set()

    def look(self) -> bool:
        """Start a training if it is time; say whether it was."""
        labels = self._labels()
        if self._after <= 0 or self._running() or labels == self._attempted:
            return False
        fresh = changed(labels, self._trained())
        if fresh < self._after:
            return False
        logger.info("%d labels are new or changed: retraining", fresh)
        self._attempted = labels
        self._start()
        return True


def changed(labels: Labels, trained: Labels) -> int:
    """How many labels are new, or not what they were."""
    return sum(trained.get(image_id) != checksum for image_id, checksum in labels.items())
