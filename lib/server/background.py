"""Start of the server's background threads, and their end at shutdown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from lib.datastore.catalog_watcher import CatalogWatcher
from lib.processes.worker import Worker
from lib.server.upstream_patches import end_tasks, running_server, stop_at_shutdown

logger = logging.getLogger(__name__)

_FIRST_ROUND_SECONDS = 20
_GRACE_SECONDS = 2  # for open requests at shutdown
_JOIN_SECONDS = 3.0


def run_workers(watcher: CatalogWatcher, workers: Sequence[Worker]) -> None:
    """Start ``workers`` after the first listing of the series, and stop all threads when the server shuts down.

    Args:
        watcher: Worker that lists the series; already started.
        workers: All other workers.
    """
    found = running_server()
    assert found is not None, "must be called by uvicorn"
    server, _ = found
    stop_at_shutdown(server, lambda: stop_background([watcher, *workers]), _GRACE_SECONDS)
    _wait_for_first_round(watcher, lambda: server.should_exit)
    for worker in workers:
        worker.start()


def stop_background(workers: Sequence[Worker], seconds: float = _JOIN_SECONDS) -> bool:
    """Stop ``workers`` and the processes of MONAI Label's tasks, including trainings.

    An interrupted training is recorded on disk, and the next server restarts it.

    Args:
        workers: All background threads.
        seconds: Timeout for all of them together.

    Returns:
        Whether all threads have ended.
    """
    deadline = time.monotonic() + seconds
    for worker in workers:  # before the tasks: a training killed here must not be mistaken for one stopped by a user
        worker.stop()
    end_tasks()
    busy = [worker.name for worker in workers if not worker.join(max(0.0, deadline - time.monotonic()))]
    if busy:
        logger.info("Threads still busy at shutdown, abandoned: %s", ", ".join(busy))
    return not busy


def _wait_for_first_round(watcher: CatalogWatcher, should_exit: Callable[[], bool]) -> None:
    """Wait for the first listing of the series, up to a timeout or until the server shuts down."""
    deadline = time.monotonic() + _FIRST_ROUND_SECONDS
    while not watcher.first_round.wait(0.1) and not should_exit():
        if time.monotonic() > deadline:
            logger.info("Indexing continues in the background; the list of series is incomplete until it is done.")
            return
