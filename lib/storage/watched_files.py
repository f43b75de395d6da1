"""Whether stored files are still what was written, asked again and again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lib.storage.integrity import sha256_of

CHANGED = "its content is not what was stored"


class WatchedFiles:
    """Files compared with their checksums, again only after they changed. Safe to use from several threads.

    For lists that are asked for every few seconds; whoever uses a file's content compares that content.
    """

    def __init__(self) -> None:
        self._found: dict[Path, tuple[tuple[object, ...], str | None]] = {}
        self._lock = threading.Lock()

    def problem(self, path: Path, sha256: str) -> str | None:
        """Say in a few words what is wrong with a file that should have this checksum; None if nothing is."""
        try:
            state = (*_state(path.stat()), sha256)
            with self._lock:
                known = self._found.get(path)
            if known is None or known[0] != state:
                known = (state, None if sha256_of(path) == sha256 else CHANGED)
                with self._lock:
                    self._found[path] = known
            return known[1]
        except OSError as error:
            return unreadable(error)

    def forget(self, path: Path) -> None:
        """Compare a file anew at the next time."""
        with self._lock:
            self._found.pop(path, None)


def unreadable(error: OSError) -> str:
    """Why a stored file cannot be read, in a few words."""
    return "its file is missing" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error.strerror})"


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
