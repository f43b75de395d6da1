"""How far the running inferences on whole scans are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lib.inference.slice_inference import BeforePass, no_wait


class InferenceProgress:
    """Share of the slices that the network has seen, of each image that it is run on. Thread-safe.

    Args:
        then: Called by `before_pass`; may block.
    """

    def __init__(self, then: BeforePass = no_wait) -> None:
        self._then = then
        self._lock = threading.Lock()
        self._shares: dict[str, float] = {}
        self._thread = threading.local()

    @contextmanager
    def running(self, image: str | None) -> Iterator[None]:
        """Follow the inference that this thread does within the context; None follows nothing."""
        self._thread.image = image
        self._note(0.0)
        try:
            yield
        finally:
            with self._lock:
                self._shares.pop(str(image), None)
            self._thread.image = None

    def before_pass(self, done: int, total: int) -> None:
        """Note the number of finished slices of the inference in this thread."""
        self._note(done / total)
        self._then(done, total)

    def share(self, image: str) -> float | None:
        """Return the share of the slices that are finished, in [0, 1); None if the network is not run on the image."""
        with self._lock:
            return self._shares.get(image)

    def _note(self, share: float) -> None:
        image = getattr(self._thread, "image", None)
        if image is not None:
            with self._lock:
                self._shares[image] = share
