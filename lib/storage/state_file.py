"""Small JSON files that the app can work without: damage is reported and never fatal."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from lib.errors import in_one_line
from lib.storage.atomic import sync_folder, write_json
from lib.storage.integrity import Damage
from lib.storage.json_values import finite

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What reading or parsing untrusted content can raise.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


class StateFile(Generic[T]):
    """JSON file that is replaced as a whole; content that cannot be parsed is treated as missing.

    A damaged file is never deleted: before it is overwritten it is renamed to ``<name>.damaged-<number>``.

    Args:
        path: Path of the file.
        parse: Converts the parsed JSON to a value; may raise any of ``UNREADABLE``.
        fallback: Sentence for the user that says what the app does without the file.
    """

    def __init__(self, path: Path, parse: Callable[[Any], T], fallback: str) -> None:
        self.path = path
        self._parse = parse
        self._fallback = fallback
        self._reported: str | None = None

    def read(self) -> T | None:
        """Return the content, or None if the file is missing or damaged. Damage is logged once."""
        value, problem = self._load()
        if problem and problem != self._reported:
            logger.warning("%s", problem)
        self._reported = problem
        return value

    def damage(self) -> Damage | None:
        """Return the damage to the file, or None if it is intact or missing."""
        _, problem = self._load()
        return Damage("state", self.path, problem) if problem else None

    def write(self, content: Any) -> None:
        """Replace the content; a damaged file is first renamed."""
        self.move_damaged_aside()
        write_json(self.path, content)

    def move_damaged_aside(self) -> bool:
        """Rename the file if it is damaged, and return whether it was."""
        _, problem = self._load()
        if problem:
            aside = move_aside(self.path)
            logger.warning("%s It is kept as %s.", problem, aside.name)
        return problem is not None

    def _load(self) -> tuple[T | None, str | None]:
        try:
            return self._parse(finite(json.loads(self.path.read_text(encoding="utf-8")))), None
        except FileNotFoundError:
            return None, None
        except UNREADABLE as error:
            return None, f"{self.path} is damaged ({in_one_line(error)}). {self._fallback}"


def move_aside(path: Path) -> Path:
    """Rename a damaged file or folder to the first free ``<name>.damaged-<number>`` and return the new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.rename(aside)
    sync_folder(path.parent)
    return aside
