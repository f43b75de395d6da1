"""Metadata of images noted by viewers and strategies, such as when an image was last offered, and to whom."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from lib.storage.state_file import StateFile

_STRATEGY = "strategy"  # MONAI Label's; it modifies the dict stored there


class ImageInfo:
    """Notes in one JSON file per image; a damaged file is moved aside at the next update.

    Args:
        folder: Folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def get(self, image_id: str) -> dict[str, Any]:
        """Return the notes of an image; empty if there are none or the file is damaged."""
        return self._file(image_id).read() or {}

    def update(self, image_id: str, notes: dict[str, Any]) -> None:
        """Add or replace notes of an image."""
        with self._lock:
            self._file(image_id).write({**self.get(image_id), **notes})

    def _file(self, image_id: str) -> StateFile[dict[str, Any]]:
        return StateFile(self._folder / f"{image_id}.json", _parsed, "The notes on that image are ignored.")


def _parsed(notes: Any) -> dict[str, Any]:
    if not isinstance(notes, dict):
        raise TypeError(f"it holds {type(notes).__name__}")
    return {name: value for name, value in notes.items() if name != _STRATEGY or isinstance(value, dict)}
