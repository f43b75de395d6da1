"""Limits of failed attempts to log in."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FORGOTTEN_SECONDS = 3600.0  # after the last failure
_REMEMBERED = 30_000


@dataclass(frozen=True)
class Limit:
    """Pauses after failures.

    Attributes:
        free: Failures before the first pause.
        first: First pause, seconds, doubled by each further failure.
        longest: Longest pause, seconds.
    """

    free: int
    first: float
    longest: float

    def pause(self, failures: int) -> float:
        """Return the pause after a number of failures, seconds."""
        late = failures - self.free
        return min(self.first * 2.0 ** min(late, 30), self.longest) if late >= 0 else 0.0


# A name from one address: somebody who guesses a password. An address: somebody who tries many names; a department may
# share one. A name from anywhere: short pauses only, so that nobody can lock another user out.
OF_NAME_AND_ADDRESS = Limit(5, 30.0, 900.0)
OF_ADDRESS = Limit(30, 30.0, 900.0)
OF_NAME = Limit(100, 1.0, 5.0)


class Attempts:
    """Counter of failed attempts by name and address, which asks for longer and longer pauses; thread-safe.

    Args:
        clock: Monotonic time, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # number, until when, last

    def pause(self, name: str, address: str) -> float:
        """Return for how many seconds no attempt with this name from this address is accepted."""
        now = self._clock()
        with self._lock:
            known = (self._failures.get(key) for key, _ in _counters(name, address))
            return max(0.0, *(until - now for _, until, _ in (one for one in known if one)), 0.0)

    def failed(self, name: str, address: str) -> None:
        """Count a failed attempt."""
        now = self._clock()
        with self._lock:
            for key, limit in _counters(name, address):
                before, _, last = self._failures.pop(key, (0, 0.0, now))
                count = before + 1 if now - last < _FORGOTTEN_SECONDS else 1
                self._failures[key] = count, now + limit.pause(count), now
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name from this address.

        Those of the address stay: somebody with an account could otherwise try the passwords of others without limit.
        """
        pair, of_address, of_name = (key for key, _ in _counters(name, address))
        with self._lock:
            mine = self._failures.pop(pair, (0, 0.0, 0.0))[0]
            for key in (of_address, of_name):  # what this user counted there
                if key in self._failures:
                    count, until, last = self._failures[key]
                    self._failures[key] = max(0, count - mine), until, last


def _counters(name: str, address: str) -> tuple[tuple[str, Limit], tuple[str, Limit], tuple[str, Limit]]:
    """Return key and limit of the counters of an attempt; keys are short whatever a client sends."""
    name = hashlib.sha256(name.casefold().encode(errors="replace")).hexdigest()[:24]
    return (f"{name} {address}", OF_NAME_AND_ADDRESS), (address, OF_ADDRESS), (name, OF_NAME)
