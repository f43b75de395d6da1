"""What viewers and strategies noted about an image (when it was last offered, by whom asked for)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.state_files import read_state, set_aside

logger = logging.getLogger(__name__)

_STRATEGY = "strategy"  # MONAI Label's; it writes into what stands there


class ImageInfo:
    """One JSON file for each image.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def get(self, image_id: str) -> dict[str, Any]:
        """The notes of an image; empty if there are none, or they are damaged."""
        try:
            return self._read(image_id)
        except (ValueError, OSError) as error:
            logger.warning("The notes %s are damaged and are left out: %s", self._path(image_id), error)
            return {}

    def update(self, image_id: str, notes: dict[str, Any]) -> None:
        """Add to the notes of an image, or change them; damaged ones are set aside."""
        with self._lock:
            try:
                known = self._read(image_id)
            except (ValueError, OSError):
                set_aside(self._path(image_id))
                known = {}
            write_json(self._path(image_id), {**known, **notes})

    def _read(self, image_id: str) -> dict[str, Any]:
        notes = read_state(self._path(image_id))
        return {name: value for name, value in notes.items() if name != _STRATEGY or isinstance(value, dict)}

    def _path(self, image_id: str) -> Path:
        return self._folder / f"{image_id}.json"
