"""Checksum of a cached volume, stored in its own NRRD header."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path

KEY = "volume_sha256"
BLANK = "0" * 64  # in the header while the checksum is computed
_SEAL = re.compile(rb"\n" + KEY.encode() + rb":=([0-9a-f]{64})\r?\n")
_LONGEST_HEADER = 1 << 22  # it contains the position of each slice
_BLOCK = 1 << 20


def add_checksum(path: Path) -> None:
    """Write the checksum into a new file that has ``BLANK`` in its place.

    Raises:
        ValueError: The header has no checksum field.
    """
    offset, _, digest = _checksums(path)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(digest.encode())


class VolumeChecksums:
    """Cache of checksum verifications; a volume is hashed again only after its file changed. Thread-safe.

    SimpleITK does not notice flipped bits, and hashing a volume of hundreds of megabytes takes time.
    """

    def __init__(self) -> None:
        self._intact: dict[Path, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def is_intact(self, path: Path) -> bool:
        """Return whether a volume exists and matches its checksum; False without a checksum."""
        try:
            status = path.stat()
            state = (
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
            )  # not ctime: every use changes it
            with self._lock:
                if self._intact.get(path) == state:
                    return True
            _, stored, digest = _checksums(path)
        except (OSError, ValueError):
            return False
        if stored == digest:
            with self._lock:
                self._intact[path] = state
        return stored == digest


def _checksums(path: Path) -> tuple[int, str, str]:
    """Return the offset of the stored checksum in a file, the stored checksum and the actual one."""
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
