"""What viewers and strategies noted about an image (when it was last offered, by whom asked for)."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from lib.atomic import write_json

logger = logging.getLogger(__name__)


class ImageInfo:
    """One JSON file for each image.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def get(self, image_id: str) -> dict[str, Any]:
        """The notes of an image; empty if there are none."""
        path = self._folder / f"{image_id}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            logger.warning("The notes %s are damaged and are left out", path)
            return {}

    def update(self, image_id: str, notes: dict[str, Any]) -> None:
        """Add to the notes of an image, or change them."""
        with self._lock:
            write_json(self._folder / f"{image_id}.json", {**self.get(image_id), **notes})
