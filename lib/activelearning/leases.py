"""Leases, which keep an image offered to one user from being offered to another for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from lib.activelearning.view import WithoutImages

ASKER = "asker"  # in a request, set by the server: user and address of the requester
_MAX_LEASES = 8  # per requester, so that skipping through the cases does not block them for others


class Leases:
    """Leases of images, with their requesters and expiry times.

    A requester is identified by client id, user and address, because all installations of Slicer have the same client
    id by default, and clients without an id must not share a lease.

    Args:
        seconds: Duration of a lease.
        clock: Monotonic time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._held: dict[str, tuple[Hashable, float]] = {}  # the oldest first
        self._lock = threading.Lock()

    def choose(
        self,
        strategy: Callable[[dict[str, Any], Any], dict[str, Any] | None],
        request: dict[str, Any],
        datastore: Any,
    ) -> dict[str, Any] | None:
        """Let a strategy choose among the images that no other requester has leased, and lease the chosen one.

        Args:
            strategy: The strategy.
            request: Request with ``client_id`` and ``asker``; images leased by this requester may be chosen again.
            datastore: Datastore of the images.
        """
        asker = str(request.get("client_id") or ""), str(request.get(ASKER) or "")
        with self._lock:
            now = self._clock()
            self._held = {image: held for image, held in self._held.items() if held[1] > now}
            others = {image for image, (who, _) in self._held.items() if who != asker}
            chosen = strategy(request, WithoutImages(datastore, others))
            if chosen and chosen.get("id"):
                self._held.pop(chosen["id"], None)
                self._held[chosen["id"]] = (asker, now + self._seconds)
                own = [image for image, (who, _) in self._held.items() if who == asker]
                for image in own[:-_MAX_LEASES]:
                    del self._held[image]
            return chosen

    def release(self, image_id: str) -> None:
        """End the lease of an image, after its label was submitted."""
        with self._lock:
            self._held.pop(image_id, None)

    def images(self) -> set[str]:
        """Return the images that are leased now."""
        with self._lock:
            return {image for image, (_, until) in self._held.items() if until > self._clock()}

    def __len__(self) -> int:
        """Return the number of leases, including expired ones until the next choice."""
        return len(self._held)
