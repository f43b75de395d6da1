"""An image that was offered to one person is not offered to another for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from monailabel.interfaces.datastore import Datastore


class Leases:
    """Who was offered which image, and until when.

    Args:
        seconds: How long an offer holds.
        clock: Seconds; monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def choose(
        self,
        strategy: Callable[[dict[str, Any], Datastore], dict[str, Any] | None],
        request: dict[str, Any],
        datastore: Datastore,
    ) -> dict[str, Any] | None:
        """Let a strategy choose among what nobody else holds, and give the asker the lease of its choice.

        Args:
            strategy: MONAI Label's.
            request: With ``client_id``, who asks; who asks again may get the same image again.
            datastore: Where the images are.
        """
        client = str(request.get("client_id") or "")
        with self._lock:
            now = self._clock()
            others = {image for image, (who, until) in self._held.items() if who != client and until > now}
            chosen = strategy(request, _Unleased(datastore, others))
            if chosen and chosen.get("id"):
                self._held[chosen["id"]] = (client, now + self._seconds)
            return chosen


class _Unleased:
    """A datastore that shows a strategy only the images that are free."""

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
