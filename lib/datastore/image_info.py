"""What viewers and strategies noted about an image (when it was last offered, by whom asked for)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from lib.storage.state_file import StateFile

_STRATEGY = "strategy"  # MONAI Label's; it writes into what stands there


class ImageInfo:
    """One JSON file for each image; a damaged one is set aside when something new is noted.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def get(self, image_id: str) -> dict[str, Any]:
        """The notes of an image; empty if there are none, or they are damaged."""
        return self._file(image_id).read() or {}

    def update(self, image_id: str, notes: dict[str, Any]) -> None:
        """Add to the notes of an image, or change them."""
        with self._lock:
            self._file(image_id).write({**self.get(image_id), **notes})

    def _file(self, image_id: str) -> StateFile[dict[str, Any]]:
        return StateFile(self._folder / f"{image_id}.json", _parsed, "The notes of that image are left out.")


def _parsed(notes: Any) -> dict[str, Any]:
    if not isinstance(notes, dict):
        raise TypeError(f"it holds {type(notes).__name__}")
    return {name: value for name, value in notes.items() if name != _STRATEGY or isinstance(value, dict)}
