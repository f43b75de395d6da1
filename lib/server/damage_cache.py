"""What is damaged of all that is stored, as it was found a short while ago."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from lib.processes.worker import Worker
from lib.storage.integrity import Damage


class DamageCache(Worker):
    """Cache the result of a comparison of everything stored with its checksums.

    The comparison runs in the background. Hashing all of a large workspace for the first time takes minutes, and every
    open panel asks every few seconds: those requests would fill the server's threads.

    Args:
        compare: Makes the comparison.
        seconds: A result counts for at least so long, and for twenty times as long as it took to make.
        timeout: Seconds to wait for a new result, or the first one, before the former one is returned.
    """

    def __init__(self, compare: Callable[[], list[Damage]], seconds: float = 5.0, timeout: float = 2.0) -> None:
        super().__init__("verification", failure="What is stored could not be compared with its checksums", pause=None)
        self._compare = compare
        self._seconds = seconds
        self._timeout = timeout
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._running: threading.Event | None = None
        self._damage: list[Damage] = []
        self._valid_until = -math.inf

    def damage(self) -> list[Damage]:
        """Return the damage as it was a few seconds ago, or is now; empty until the first comparison has ended."""
        (self.renew() or self._first).wait(self._timeout)
        return self._damage

    def renew(self) -> threading.Event | None:
        """Start a comparison if the result is outdated; return an event that is set at its end, else None."""
        with self._lock:
            if self._running or time.monotonic() < self._valid_until:
                return None
            ended = self._running = threading.Event()
        self.start()
        self.wake()
        return ended

    def run_once(self) -> None:
        """Compare, where `renew` asked for it."""
        with self._lock:
            ended = self._running
        if ended is None:
            return
        began = time.monotonic()
        try:
            self._damage = self._compare()  # where it fails, the former result stays
        finally:
            now = time.monotonic()
            with self._lock:
                self._running, self._valid_until = None, now + max(self._seconds, 20 * (now - began))
            self._first.set()
            ended.set()
