"""Checksums of image content, to distinguish copies from images that only share a UID or a position."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lib.dicomweb.stored_values import StoredImage


class ImageDigests:
    """Digests of images for a transaction, computed outside of it so that it never blocks writers while reading pixels.

    Within the transaction :meth:`of` records missing digests. If there were any, the transaction must be rolled back
    and run again after :meth:`compute`.

    Attributes:
        unreadable: Paths of files that could not be read; the digest of each is its path.
    """

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._known: dict[str, str] = {}
        self._missing: set[str] = set()

    @property
    def are_complete(self) -> bool:
        """Whether all requested digests were known."""
        return not self._missing

    def of(self, path: str) -> str:
        """Return the digest of a file, or its path, which equals no other digest, if it is not computed yet."""
        if path not in self._known:
            self._missing.add(path)
        return self._known.get(path, path)

    def compute(self) -> bool:
        """Compute the missing digests, and return whether there were any."""
        for path in sorted(self._missing):
            try:
                self._known[path] = image_digest(Path(path))
            except OSError:
                self._known[path] = path
                self.unreadable.add(path)
        had_missing = bool(self._missing)
        self._missing.clear()
        return had_missing


def image_digest(path: Path) -> str:
    """Return a checksum of pixel values, geometry and rescale of an image; of the whole file if it has no pixels.

    It is independent of transfer syntax, UIDs and patient name.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        image = StoredImage(path)
        digest = hashlib.sha256(repr(image.meaning).encode())
        for frame in image.frames():
            digest.update(repr(frame.shape).encode())
            digest.update(np.ascontiguousarray(frame, np.int64).data)
        return digest.hexdigest()
    except Exception:  # no pixels, or damaged; pydicom raises many types
        return hashlib.sha256(path.read_bytes()).hexdigest()
