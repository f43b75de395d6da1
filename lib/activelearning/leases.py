"""Leases, which keep an image offered to one user from being offered to another for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.activelearning.asker import Asker
from lib.activelearning.view import WithoutImages

_MAX_LEASES = 8  # per requester, so that skipping through the cases does not block them for others


@dataclass(frozen=True)
class _Lease:
    client: str
    asker: Asker
    until: float  # monotonic time, seconds

    def belongs_to(self, client: str, asker: Asker) -> bool:
        return (self.client, self.asker.user, self.asker.address) == (client, asker.user, asker.address)


class Leases:
    """Leases of images, with their requesters and expiry times.

    A requester is identified by client id, user and address, because all installations of Slicer have the same client
    id by default, and clients without an id must not share a lease. A lease ends with the log-in session of its
    requester.

    Args:
        seconds: Duration of a lease.
        clock: Monotonic time in seconds.
        has_ended: Returns whether a log-in session has ended.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        has_ended: Callable[[str], bool] = lambda session: False,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._has_ended = has_ended
        self._held: dict[str, _Lease] = {}  # the oldest first
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
            request: Request with ``client_id`` and `Asker`; images leased by this requester may be chosen again.
            datastore: Datastore of the images.
        """
        client, asker = str(request.get("client_id") or ""), Asker.of(request)
        with self._lock:
            self._held = self._running()
            others = {image for image, one in self._held.items() if not one.belongs_to(client, asker)}
            chosen = strategy(request, WithoutImages(datastore, others))
            if chosen and chosen.get("id"):
                self._held.pop(chosen["id"], None)
                self._held[chosen["id"]] = _Lease(client, asker, self._clock() + self._seconds)
                own = [image for image, one in self._held.items() if one.belongs_to(client, asker)]
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
            return {*self._running()}

    def user_of(self, image_id: str) -> str:
        """Return the name of the user who has leased an image; empty if nobody has, or without a name."""
        with self._lock:
            lease = self._running().get(image_id)
        return lease.asker.user if lease else ""

    def _running(self) -> dict[str, _Lease]:
        now = self._clock()
        return {
            image: one
            for image, one in self._held.items()
            if one.until > now and not (one.asker.session and self._has_ended(one.asker.session))
        }

    def __len__(self) -> int:
        """Return the number of leases, including expired ones until the next choice."""
        return len(self._held)
