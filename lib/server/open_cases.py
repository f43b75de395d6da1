"""Who else works on an image: has it open, has a draft of it, or was offered it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SECONDS = 30.0  # the panel asks every four seconds while its page is visible

OPEN, DRAFT, OFFERED = "open", "draft", "offered"


class OpenCases:
    """Images that users have open in the panel, which asks for them again and again; thread-safe.

    Args:
        has_ended: Returns whether a log-in session has ended.
        clock: Monotonic time, seconds.
    """

    def __init__(self, has_ended: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._has_ended = has_ended
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[float, str]] = {}  # by image and user: until when, session

    def see(self, image: str, user: str, session: str) -> None:
        """Note that a user has an image open."""
        with self._lock:
            now = self._clock()
            self._open = {key: one for key, one in self._open.items() if one[0] > now}
            self._open[image, user] = now + _SECONDS, session

    def users_of(self, image: str) -> set[str]:
        """Return the names of the users who have an image open."""
        with self._lock:
            now, known = self._clock(), dict(self._open)
        return {
            user
            for (one, user), (until, session) in known.items()
            if one == image and until > now and not (session and self._has_ended(session))
        }


def others_at_work(opened: set[str], drafted: set[str], offered: str, user: str) -> list[dict[str, str]]:
    """Return the other users who work on an image, by name, each with the strongest sign of it.

    Args:
        opened: Users who have it open.
        drafted: Users who have a draft of it.
        offered: User to whom it was offered; empty if to nobody.
        user: Who asks.
    """
    signs = {**dict.fromkeys([offered], OFFERED), **dict.fromkeys(drafted, DRAFT), **dict.fromkeys(opened, OPEN)}
    return [{"name": name, "sign": signs[name]} for name in sorted(signs) if name not in ("", user)]
