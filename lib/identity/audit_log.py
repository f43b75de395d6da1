"""Append-only log of who did what, without data of patients."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.storage.atomic import make_folder

_FIRST = "0" * 64
_TAIL = 1 << 16  # bytes, longer than any line


class AuditLog:
    """File of JSON lines, each with the SHA-256 of the line before, so that a changed or removed line is noticed.

    Several processes may append: each append locks the file. A line cut off by a crash is closed and kept.

    Args:
        path: ``audit.jsonl`` of the workspace; mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, user: str, action: str, **details: Any) -> None:
        """Append an entry.

        Args:
            user: Name of the user, or empty if unknown.
            action: What was done, such as ``labelled``.
            details: UIDs, versions and results; never names of patients.
        """
        make_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
            cut_off = b"" if tail.endswith(b"\n") or not tail else b"\n"
            last = tail.rstrip(b"\n").rpartition(b"\n")[2]
            entry = {"time": round(time.time(), 3), "user": user, "action": action, **details}
            entry["previous"] = _hash(last) if last else _FIRST
            file.write(cut_off + json.dumps(entry, default=str).encode() + b"\n")
            file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the entries, the oldest first; a line that is no entry is yielded as ``{"damaged": text}``."""
        for line, _ in self._lines():
            yield line

    def problems(self) -> list[str]:
        """Return where the chain of hashes is broken; empty if no line was changed or removed.

        Somebody who may write the file can also rewrite all hashes, or remove lines from the end: only a copy of
        `last_hash` that is kept elsewhere proves that this did not happen.
        """
        found, expected = [], _FIRST
        for number, (entry, raw) in enumerate(self._lines(), start=1):
            if "damaged" in entry:
                found.append(f"Line {number} is no entry; it was cut off by a crash, or changed.")
            elif entry.get("previous") != expected:
                found.append(f"Line {number} does not follow the line before it: that one was changed or removed.")
            expected = _hash(raw)
        return found

    def last_hash(self) -> str:
        """Return the SHA-256 of the last line, on which those of all lines depend."""
        last = _FIRST
        for _, raw in self._lines():
            last = _hash(raw)
        return last

    def _lines(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for raw in file:
                raw = raw.rstrip(b"\n")
                try:
                    entry = json.loads(raw)
                except ValueError:
                    entry = None
                yield (entry if _is_entry(entry) else {"damaged": raw.decode(errors="replace")}), raw


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("time"), int | float) and "action" in value


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
