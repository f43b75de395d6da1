"""Recent warnings and errors of the server, for the status page."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any


class RecentErrors(logging.Handler):
    """Log handler that keeps the last warnings and errors in memory.

    Args:
        count: Number of records to keep.
    """

    def __init__(self, count: int = 20) -> None:
        super().__init__(level=logging.WARNING)
        self._records: deque[dict[str, Any]] = deque(maxlen=count)

    def emit(self, record: logging.LogRecord) -> None:
        """Store a record."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        self._records.appendleft({"time": when, "level": record.levelname, "message": record.getMessage()})

    def list(self) -> list[dict[str, Any]]:
        """Return the records, newest first."""
        return [*self._records]
