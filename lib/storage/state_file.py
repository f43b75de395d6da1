"""Small JSON files that the app can do without: damage to one is told and never stops anything."""

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

# What reading or parsing foreign content can raise. A missing file is none of it.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


class StateFile(Generic[T]):
    """A JSON file that is replaced whole; content that cannot be parsed counts as none.

    A damaged file is never deleted: before it is written anew it is renamed to ``<name>.damaged-<number>``.

    Args:
        path: Of the file.
        parse: Makes a value of the parsed JSON; raises whatever it likes of ``UNREADABLE`` where it cannot.
        instead: What the app does without the file, a sentence for people.
    """

    def __init__(self, path: Path, parse: Callable[[Any], T], instead: str) -> None:
        self.path = path
        self._parse = parse
        self._instead = instead
        self._told: str | None = None

    def read(self) -> T | None:
        """Return the content; None where the file is missing or damaged. Damage is logged once."""
        value, problem = self._look()
        if problem and problem != self._told:
            logger.warning("%s", problem)
        self._told = problem
        return value

    def damage(self) -> Damage | None:
        """Return what is wrong with the file, if anything is."""
        _, problem = self._look()
        return Damage("state", self.path, problem) if problem else None

    def write(self, content: Any) -> None:
        """Replace the content; a damaged former file is kept under another name."""
        self.move_damaged_aside()
        write_json(self.path, content)

    def move_damaged_aside(self) -> bool:
        """Rename the file if it is damaged; say whether it was."""
        _, problem = self._look()
        if problem:
            aside = move_aside(self.path)
            logger.warning("%s It is kept as %s.", problem, aside.name)
        return problem is not None

    def _look(self) -> tuple[T | None, str | None]:
        try:
            return self._parse(finite(json.loads(self.path.read_text(encoding="utf-8")))), None
        except FileNotFoundError:
            return None, None
        except UNREADABLE as error:
            return None, f"{self.path} is damaged ({in_one_line(error)}). {self._instead}"


def move_aside(path: Path) -> Path:
    """Rename what is damaged to the first free ``<name>.damaged-<number>`` beside it; return that path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.rename(aside)
    sync_folder(path.parent)
    return aside
