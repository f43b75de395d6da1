"""Images that users have put aside, with the reason."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, TypedDict

from lib.errors import UserError
from lib.storage.state_file import StateFile

LATER = "later"
REASONS = ("not a chest", "poor quality", LATER)


class Skipped(TypedDict):
    """Why, by whom and when an image was put aside; seconds since 1970."""

    reason: str
    by: str
    time: float


class SkippedImages:
    """Images that are not offered for labelling, in a file of the workspace.

    Args:
        path: JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _parsed, "The images that were skipped are offered again.")
        self._lock = threading.Lock()

    def all(self) -> dict[str, Skipped]:
        """Return the images that are put aside."""
        return self._file.read() or {}

    def skip(self, image_id: str, reason: str, by: str, time: float) -> None:
        """Put an image aside.

        Raises:
            UserError: The reason is not one of ``REASONS``.
        """
        if reason not in REASONS:
            raise UserError(f"{reason!r} is no reason to skip an image; give one of: {', '.join(REASONS)}.")
        with self._lock:
            self._file.write({**self.all(), image_id: Skipped(reason=reason, by=by, time=time)})

    def take_back(self, image_id: str) -> None:
        """Let an image be offered again."""
        with self._lock:
            kept = self.all()
            if kept.pop(image_id, None):
                self._file.write(kept)


def _parsed(content: Any) -> dict[str, Skipped]:
    return {
        str(image_id): Skipped(reason=str(one["reason"]), by=str(one["by"]), time=float(one["time"]))
        for image_id, one in content.items()
    }
