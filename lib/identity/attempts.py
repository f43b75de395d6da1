"""Limit of failed attempts to log in."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_FREE = 5  # failures before the first pause
_FIRST_PAUSE = 30.0  # seconds, doubled by each further failure
_LONGEST_PAUSE = 15 * 60.0
_REMEMBERED = 10_000  # names and addresses


class Attempts:
    """Counter of failed attempts by name and by address, which asks for longer and longer pauses; thread-safe.

    Args:
        clock: Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def pause(self, *keys: str) -> float:
        """Return for how many seconds no attempt is accepted from any of these names and addresses."""
        now = self._clock()
        with self._lock:
            return max(0.0, *(until - now for _, until in (self._failures.get(key, (0, now)) for key in keys)))

    def failed(self, *keys: str) -> None:
        """Count a failed attempt."""
        now = self._clock()
        with self._lock:
            for key in keys:
                count = self._failures.pop(key, (0, now))[0] + 1
                late = count - _FREE
                pause = min(_FIRST_PAUSE * 2.0 ** min(late, 30), _LONGEST_PAUSE) if late >= 0 else 0.0
                self._failures[key] = count, now + pause
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of these names and addresses."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)
