"""Append-only files of JSON lines."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import in_one_line
from lib.storage.atomic import make_folder
from lib.storage.json_values import finite
from lib.storage.state_file import UNREADABLE, move_aside

logger = logging.getLogger(__name__)


class JsonLines:
    """File of JSON objects, one a line, oldest first.

    Lines that cannot be parsed are skipped and left in the file.

    Args:
        path: Path of the file.
        check: Returns an entry as it is used; raises a ValueError, TypeError or KeyError if it is not valid.
    """

    def __init__(self, path: Path, check: Callable[[Any], dict[str, Any]]) -> None:
        self.path = path
        self._check = check

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries that can be parsed; an empty list if the file is missing."""
        return self._load()[0]

    def problem(self) -> str | None:
        """Return what is wrong with the file, or None if it is intact or missing."""
        return self._load()[1]

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
                entries.append(self._check(finite(json.loads(line))))
            except UNREADABLE:
                unreadable += 1
        return entries, f"{unreadable} of {len(lines)} lines cannot be read" if unreadable else None
