"""Cached checksum verification of stored files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lib.storage.integrity import sha256_of

CHANGED = "its content is not what was stored"


class WatchedFiles:
    """Cache of checksum comparisons; a file is hashed again only after its metadata changed. Thread-safe.

    Meant for lists that are polled every few seconds. Code that uses a file's content must verify that content itself.
    """

    def __init__(self) -> None:
        self._cache: dict[Path, tuple[tuple[object, ...], str | None]] = {}
        self._lock = threading.Lock()

    def problem(self, path: Path, sha256: str) -> str | None:
        """Return what is wrong with a file that should have this checksum, in a few words; None if it is intact."""
        try:
            state = (*_state(path.stat()), sha256)
            with self._lock:
                known = self._cache.get(path)
            if known is None or known[0] != state:
                known = (state, None if sha256_of(path) == sha256 else CHANGED)
                with self._lock:
                    self._cache[path] = known
            return known[1]
        except OSError as error:
            return unreadable(error)

    def forget(self, path: Path) -> None:
        """Drop a file from the cache, so that the next call hashes it again."""
        with self._lock:
            self._cache.pop(path, None)


def unreadable(error: OSError) -> str:
    """Return why a stored file cannot be read, in a few words."""
    return "its file is missing" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error.strerror})"


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
