"""Which version served when, by whom and why: lines that are only ever added."""

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
    """JSON lines with ``from``, ``to``, ``by``, ``why`` and ``time``, oldest first.

    A line that cannot be read is left where it is and passed over.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines that can be read; none where there is no file."""
        return self._look()[0]

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line, on disk when this returns."""
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
                torn = file.read(1) != b"\n"  # of a process that was killed
                file.write(b"\n" * torn)
            file.write(json.dumps(finite(entry)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def damage(self) -> Damage | None:
        """Return what is wrong with the file, if anything is."""
        _, problem = self._look()
        if problem is None:
            return None
        told = f"{self.path} is damaged ({problem}). What can be read of it is used; the models are not affected."
        return Damage("state", self.path, told)

    def _look(self) -> tuple[list[dict[str, Any]], str | None]:
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
