"""The background threads of the server: their start, and their end at its shutdown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from lib.datastore.catalog_watcher import CatalogWatcher
from lib.processes.worker import Worker
from lib.server.upstream_patches import end_tasks, running_server, stop_at_shutdown

logger = logging.getLogger(__name__)

_FIRST_ROUND_SECONDS = 20
_GRACE_SECONDS = 2  # for requests that are open at a shutdown
_JOIN_SECONDS = 3.0


def run_workers(watcher: CatalogWatcher, workers: Sequence[Worker]) -> None:
    """Start ``workers`` once the series were listed, and stop all threads when the server shuts down.

    Args:
        watcher: Lists the series; started already.
        workers: All other threads.
    """
    found = running_server()
    assert found is not None, "uvicorn calls this"
    server, _ = found
    stop_at_shutdown(server, lambda: stop_background([watcher, *workers]), _GRACE_SECONDS)
    _wait_for_first_round(watcher, lambda: server.should_exit)
    for worker in workers:
        worker.start()


def stop_background(workers: Sequence[Worker], seconds: float = _JOIN_SECONDS) -> bool:
    """Stop ``workers`` and the processes of MONAI Label's tasks, trainings among them.

    An interrupted training is noted on disk, and the next server starts it again.

    Args:
        workers: All threads in the background.
        seconds: Time in which they have to end, all together.

    Returns:
        Whether all threads have ended.
    """
    deadline = time.monotonic() + seconds
    for worker in workers:  # before the tasks end: a training that is killed here must not be taken for a stopped one
        worker.stop()
    end_tasks()
    busy = [worker.name for worker in workers if not worker.join(max(0.0, deadline - time.monotonic()))]
    if busy:
        logger.info("Abandoned at the end of the server, because still busy: %s", ", ".join(busy))
    return not busy


def _wait_for_first_round(watcher: CatalogWatcher, should_exit: Callable[[], bool]) -> None:
    """Wait a while for the first list of the series, or until the server has to exit."""
    deadline = time.monotonic() + _FIRST_ROUND_SECONDS
    while not watcher.first_round.wait(0.1) and not should_exit():
        if time.monotonic() > deadline:
            logger.info("Indexing goes on; the list grows meanwhile.")
            return
