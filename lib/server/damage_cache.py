"""Cached result of the integrity check of all stored files."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from lib.processes.worker import Worker
from lib.storage.integrity import Damage


class DamageCache(Worker):
    """Worker that compares all stored files with their checksums, and caches the result.

    The first comparison of a large workspace takes minutes, and every open panel polls every few seconds: without the
    background thread, those requests would occupy all threads of the server.

    Args:
        compare: Runs the comparison.
        seconds: Minimum lifetime of a result; it is also valid for twenty times the duration of the comparison.
        timeout: Seconds to wait for a new result before the previous one is returned.
    """

    def __init__(self, compare: Callable[[], list[Damage]], seconds: float = 5.0, timeout: float = 2.0) -> None:
        super().__init__("verification", failure="Could not compare stored files with their checksums", pause=None)
        self._compare = compare
        self._seconds = seconds
        self._timeout = timeout
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._running: threading.Event | None = None
        self._damage: list[Damage] = []
        self._valid_until = -math.inf

    def damage(self) -> list[Damage]:
        """Return the damage, at most a few seconds old; empty until the first comparison has ended."""
        (self.renew() or self._first).wait(self._timeout)
        return self._damage

    def renew(self) -> threading.Event | None:
        """Start a comparison if the result has expired; return an event that is set at its end, else None."""
        with self._lock:
            if self._running or time.monotonic() < self._valid_until:
                return None
            ended = self._running = threading.Event()
        self.start()
        self.wake()
        return ended

    def run_once(self) -> None:
        """Run the comparison requested by `renew`."""
        with self._lock:
            ended = self._running
        if ended is None:
            return
        began = time.monotonic()
        try:
            self._damage = self._compare()  # if it fails, the previous result is kept
        finally:
            now = time.monotonic()
            with self._lock:
                self._running, self._valid_until = None, now + max(self._seconds, 20 * (now - began))
            self._first.set()
            ended.set()
