"""Whether a cached volume is still what was written: its NRRD header holds the checksum of the whole file."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path

KEY = "volume_sha256"
BLANK = "0" * 64  # in the header while the checksum is computed
_SEAL = re.compile(rb"\n" + KEY.encode() + rb":=([0-9a-f]{64})\r?\n")
_LONGEST_HEADER = 1 << 22  # the position of each slice is in it
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Put the checksum into a file that was just written with ``BLANK`` in its place.

    Raises:
        ValueError: There is no place for it.
    """
    place, _, digest = _look(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(digest.encode())


class VolumeSeals:
    """Compares volumes with their checksums; again only after they changed. Safe to use from several threads.

    A volume is hundreds of megabytes, and SimpleITK reads one with flipped bits without a word.
    """

    def __init__(self) -> None:
        self._whole: dict[Path, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def is_whole(self, path: Path) -> bool:
        """Whether a volume is there and as it was written; one without a checksum is not."""
        try:
            status = path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)  # not ctime: to use a volume changes that
            with self._lock:
                if self._whole.get(path) == state:
                    return True
            _, noted, digest = _look(path)
        except (OSError, ValueError):
            return False
        if noted == digest:
            with self._lock:
                self._whole[path] = state
        return noted == digest


def _look(path: Path) -> tuple[int, str, str]:
    """Where the checksum stands in a file, the one that stands there, and the true one."""
    with path.open("rb") as file:
        header = file.read(_LONGEST_HEADER)
        end = header.find(b"\n\n")
        found = _SEAL.search(header, 0, end + 1)
        if found is None:
            raise ValueError(f"{path.name} has no checksum")
        digest = hashlib.sha256(header[: found.start(1)] + BLANK.encode() + header[found.end(1) :])
        while block := file.read(_BLOCK):
            digest.update(block)
    return found.start(1), found[1].decode(), digest.hexdigest()
