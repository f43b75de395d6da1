"""Confirmation of empty labels, which say that a scan has no tumour and are easily submitted by mistake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

CONFIRM = "confirm_empty"  # parameter of a submission, sent by clients that have asked the user
_SECONDS = 300.0


class EmptyLabels:
    """Empty labels that were refused, so that submitting one again confirms it: 3D Slicer cannot send a parameter.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def refused(self, submission: Hashable) -> None:
        """Note that a submission was refused.

        Args:
            submission: Image, and who submitted the label.
        """
        with self._lock:
            now = self._clock()
            self._refused = {one: until for one, until in self._refused.items() if until > now}
            self._refused[submission] = now + _SECONDS

    def confirms(self, submission: Hashable) -> bool:
        """Return whether this submission repeats a refused one, which counts once."""
        with self._lock:
            return self._refused.pop(submission, 0.0) > self._clock()
