"""Checksums of what an image shows, by which copies are told from images that only share a UID or a place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lib.dicomweb.stored_values import StoredImage


class ImageDigests:
    """The digests of images for a transaction, computed outside of it: other writers do not wait for pixels.

    Within the transaction :meth:`of` notes what is not known yet. If :meth:`compute` then finds that there was any,
    the transaction is to be rolled back and run again.

    Attributes:
        unreadable: Paths of files that could not be read; the digest of each is the path itself.
    """

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._known: dict[str, str] = {}
        self._missing: set[str] = set()

    @property
    def are_complete(self) -> bool:
        """Whether all that were asked for were known."""
        return not self._missing

    def of(self, path: str) -> str:
        """The digest of a file; the path in its place, like that of no other file, while it is not computed."""
        if path not in self._known:
            self._missing.add(path)
        return self._known.get(path, path)

    def compute(self) -> bool:
        """Compute what was asked for and not known; whether there was any."""
        for path in sorted(self._missing):
            try:
                self._known[path] = image_digest(Path(path))
            except OSError:
                self._known[path] = path
                self.unreadable.add(path)
        some = bool(self._missing)
        self._missing.clear()
        return some


def image_digest(path: Path) -> str:
    """A checksum of the pixels of an image and of what they mean, in any transfer syntax; of the file without pixels.

    UIDs and the patient's name do not count.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        image = StoredImage(path)
        digest = hashlib.sha256(repr(image.meaning).encode())
        for frame in image.frames():
            digest.update(repr(frame.shape).encode())
            digest.update(np.ascontiguousarray(frame, np.int64))
        return digest.hexdigest()
    except Exception:  # no pixels, or damaged in one of pydicom's many ways
        return hashlib.sha256(path.read_bytes()).hexdigest()
