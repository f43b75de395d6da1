"""Append-only log of the model versions that were in use, with user and reason."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from lib.errors import in_one_line
from lib.storage.atomic import make_folder
from lib.storage.integrity import Damage
from lib.storage.json_values import finite
from lib.storage.state_file import UNREADABLE, move_aside

logger = logging.getLogger(__name__)


class History:
    """File of JSON lines with ``from``, ``to``, ``by``, ``why`` and ``time``, oldest first.

    Lines that cannot be parsed are skipped and left in the file.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries that can be parsed; an empty list if the file is missing."""
        return self._load()[0]

    def append(self, entry: dict[str, Any]) -> None:
        """Append an entry and sync it to disk."""
        make_folder(self.path.parent)
        try:
            self.path.read_bytes()
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("%s cannot be read (%s): kept as %s", self.path, error, move_aside(self.path).name)
        with self.path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                truncated = file.read(1) != b"\n"  # by a killed process
                file.write(b"\n" * truncated)
            file.write(json.dumps(finite(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def damage(self) -> Damage | None:
        """Return the damage to the file, or None if it is intact or missing."""
        _, problem = self._load()
        if problem is None:
            return None
        message = f"{self.path} is damaged ({problem}). Its readable lines are used; the models are not affected."
        return Damage("state", self.path, message)

    def _load(self) -> tuple[list[dict[str, Any]], str | None]:
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return [], None
        except OSError as error:
            return [], in_one_line(error)
        entries, unreadable = [], 0
        for line in filter(None, lines):
            try:
                entries.append(_checked(finite(json.loads(line))))
            except UNREADABLE:
                unreadable += 1
        return entries, f"{unreadable} of {len(lines)} lines cannot be read" if unreadable else None


def _checked(entry: Any) -> dict[str, Any]:
    if not isinstance(entry["to"], str) or not isinstance(entry["from"], str | None):
        raise ValueError("it names no version")
    return entry
