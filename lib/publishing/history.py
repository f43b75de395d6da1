"""Append-only log of the model versions that were in use, with user and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.storage.integrity import Damage
from lib.storage.json_lines import JsonLines


class History(JsonLines):
    """File of JSON lines with ``from``, ``to``, ``by``, ``why`` and ``time``, oldest first.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _checked)

    def damage(self) -> Damage | None:
        """Return the damage to the file, or None if it is intact or missing."""
        problem = self.problem()
        if problem is None:
            return None
        message = f"{self.path} is damaged ({problem}). Its readable lines are used; the models are not affected."
        return Damage("state", self.path, message)


def _checked(entry: Any) -> dict[str, Any]:
    if not isinstance(entry["to"], str) or not isinstance(entry["from"], str | None):
        raise ValueError("it names no version")
    return entry
