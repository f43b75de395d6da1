"""Background thread that refreshes the catalog of series."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from lib.datastore.catalog import SeriesCatalog
from lib.processes.worker import Worker

logger = logging.getLogger(__name__)


class CatalogWatcher(Worker):
    """Worker that refreshes a catalog periodically.

    Args:
        catalog: The catalog.
        scan: Updates the index of the folder before each refresh, and reports progress to its argument. None for a
            PACS, which maintains its own index.
        seconds: Pause between two rounds.
        after: Called after each refresh.

    Attributes:
        first_round: Set once the series were listed, or could not be listed in two rounds.
        progress: Number of files done and in total while a scan indexes them.
        error: Error of the last round; None if it succeeded.
    """

    def __init__(
        self,
        catalog: SeriesCatalog,
        scan: Callable[[Callable[[int, int], None]], Any] | None,
        seconds: float,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__("catalog", failure="Could not list the series", pause=seconds)
        self._catalog = catalog
        self._scan = scan
        self._after = after
        self._failures = 0
        self._next_refresh = 0.0
        self.first_round = threading.Event()
        self.progress: dict[str, int] = {}
        self.error: str | None = None

    def run_once(self) -> bool:
        """List the series; return whether to retry without a pause."""
        self._failures = 0 if self._list_series() else self._failures + 1
        self.progress = {}
        if self._failures == 1:  # the next round rebuilds a damaged index: do not delay it
            return True
        self.first_round.set()
        return False

    def _list_series(self) -> bool:
        """Scan and refresh; return whether both succeeded."""
        try:
            if self._scan:
                self._scan(self._on_progress)
            self._catalog.refresh()
            self.error = None
            self._after()
        except Exception as error:  # an unreachable PACS may be back in the next round
            self.error = f"{type(error).__name__}: {error}"
            logger.warning("Could not list the series: %s", self.error)
            return False
        return True

    def _on_progress(self, done: int, total: int) -> None:
        self.check_stopped()
        self.progress = {"files_indexed": done, "files_to_index": total}
        logger.info("Indexing: %d of %d new files", done, total)
        if time.monotonic() < self._next_refresh:
            return
        start = time.monotonic()
        self._catalog.refresh()
        # At most a tenth of the time: refreshing many series takes long, and must not slow down indexing.
        self._next_refresh = time.monotonic() + 10 * (time.monotonic() - start)
