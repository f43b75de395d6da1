"""MONAI Label's sessions, tolerant of damaged files."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from monailabel.utils.sessions import SessionInfo, Sessions

logger = logging.getLogger(__name__)

_DAMAGED = (OSError, ValueError, TypeError, AttributeError, RecursionError)


class TolerantSessions(Sessions):
    """Sessions that remove damaged files; with MONAI Label's own class they make the server fail at start.

    A session is a copy of an uploaded image, kept for an hour.
    """

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> SessionInfo | None:
        """Return a session by its id; None if it does not exist or is damaged."""
        try:
            return super().get_session(session_id, update_ts, fetch_cache)
        except _DAMAGED as error:
            logger.warning("Session %s is damaged and is removed: %s", session_id, type(error).__name__)
            self.remove_session(session_id)
            return None

    def remove_expired(self) -> int:
        """Remove expired and damaged sessions, and return their number."""
        folders = Path(self.store_path).glob("*/") if Path(self.store_path).is_dir() else ()
        gone = [folder.name for folder in folders if folder.is_dir() and not self._lasts(folder.name)]
        for session_id in gone:
            self.remove_session(session_id)
        return len(gone)

    def _lasts(self, session_id: str) -> bool:
        session: Any = self.get_session(session_id, update_ts=False, fetch_cache=False)
        try:
            return session is not None and session.last_access_ts + session.expiry >= time.time()
        except TypeError:
            return False
