"""Leases: an image that was offered to one person is not offered to another for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from monailabel.interfaces.datastore import Datastore

ASKER = "asker"  # in a request, set by the server: user and address of the requester
_MAX_LEASES = 8  # of one requester; whoever skips through the cases leaves them to others


class Leases:
    """Who was offered which image, and until when.

    A requester is identified by the client's own id together with its user and address: all installations of Slicer
    have the same id unless it is changed, and clients without an id must not share one lease.

    Args:
        seconds: How long an offer holds.
        clock: Seconds; monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._held: dict[str, tuple[Hashable, float]] = {}  # the oldest first
        self._lock = threading.Lock()

    def choose(
        self,
        strategy: Callable[[dict[str, Any], Datastore], dict[str, Any] | None],
        request: dict[str, Any],
        datastore: Datastore,
    ) -> dict[str, Any] | None:
        """Let a strategy choose among the images without a lease of another requester, and lease the chosen one.

        Args:
            strategy: MONAI Label's.
            request: With ``client_id`` and ``asker``, the requester, who may be offered its own images again.
            datastore: Where the images are.
        """
        asker = str(request.get("client_id") or ""), str(request.get(ASKER) or "")
        with self._lock:
            now = self._clock()
            self._held = {image: held for image, held in self._held.items() if held[1] > now}
            others = {image for image, (who, _) in self._held.items() if who != asker}
            chosen = strategy(request, _Unleased(datastore, others))
            if chosen and chosen.get("id"):
                self._held.pop(chosen["id"], None)
                self._held[chosen["id"]] = (asker, now + self._seconds)
                own = [image for image, (who, _) in self._held.items() if who == asker]
                for image in own[:-_MAX_LEASES]:
                    del self._held[image]
            return chosen

    def release(self, image_id: str) -> None:
        """End the lease of an image, since its label was submitted."""
        with self._lock:
            self._held.pop(image_id, None)

    def __len__(self) -> int:
        """Return the number of leases that are kept, expired ones included until the next choice."""
        return len(self._held)


class _Unleased:
    """A view of a datastore that shows a strategy only the images without a lease."""

    def __init__(self, datastore: Datastore, taken: set[str]) -> None:
        self._datastore = datastore
        self._taken = taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datastore, name)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        images = self._datastore.get_unlabeled_images(label_tag, labels)
        return [image for image in images if image not in self._taken]

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        images = self._datastore.get_labeled_images(label_tag, labels)
        return [image for image in images if image not in self._taken]
