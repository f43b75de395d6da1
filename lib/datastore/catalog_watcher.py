"""The thread that keeps a catalog of series up to date."""

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
    """Keep a catalog up to date in the background.

    Args:
        catalog: What is kept up to date.
        scan: Takes in what changed in the folder before each refresh; calls back with its progress.
            None for a PACS, which does so itself.
        seconds: Pause between two rounds.
        after: Called after each refresh.

    Attributes:
        first_round: Set once the series were listed, or could not be listed in two rounds.
        progress: Counts of files while a scan indexes them.
        error: Why the last round failed; None if it succeeded.
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
        """List the series; return whether to try again at once."""
        self._failures = 0 if self._list_series() else self._failures + 1
        self.progress = {}
        if self._failures == 1:  # the scan of the next round rebuilds a damaged index: nobody should wait for that
            return True
        self.first_round.set()
        return False

    def _list_series(self) -> bool:
        """Return whether the series could be listed."""
        try:
            if self._scan:
                self._scan(self._on_progress)
            self._catalog.refresh()
            self.error = None
            self._after()
        except Exception as error:  # a PACS that is unreachable now may be back in the next round
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
        # A tenth of the time at most: a refresh of many series takes long, and must not slow indexing down.
        self._next_refresh = time.monotonic() + 10 * (time.monotonic() - start)
