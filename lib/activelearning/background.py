"""Background scoring of images, and pauses of long work while users or trainings need the machine."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from lib.activelearning.uncertainty_scoring import UncertaintyScoring
from lib.datastore.series_datastore import SeriesDatastore
from lib.processes.worker import Worker

_POLL_SECONDS = 0.05
_NUMBER_OF_CORES = threading.Lock()  # several workers start at once; one would take the 1 of another for that of all


class YieldToUsers:
    """Pauses long work while a user waits for the machine.

    Args:
        busy: Returns whether work with priority is running or waiting, such as a training.
    """

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy
        self._waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def user_waiting(self) -> Iterator[None]:
        """Pause background work within the context, during which a user waits for an inference."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def must_yield(self) -> bool:
        """Return whether background work must pause now."""
        return self._waiting > 0 or self._busy()

    def wait(self, longest: float = math.inf) -> None:
        """Block until the work may continue.

        Args:
            longest: Seconds after which it continues in any case, so that it ends however busy the users are.
        """
        end = time.monotonic() + longest
        while self.must_yield() and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)

    def _count(self, step: int) -> None:
        with self._lock:
            self._waiting += step


class BackgroundScoring(Worker):
    """Worker that scores images: on a cluster, or one at a time at low priority while no user waits.

    Args:
        scoring: The scoring method.
        datastore: Datastore of the images.
        yield_to_users: Decides when to pause.
        seconds: Polling interval while every image has a score.
    """

    def __init__(
        self,
        scoring: UncertaintyScoring,
        datastore: SeriesDatastore,
        yield_to_users: YieldToUsers,
        seconds: float = 5.0,
    ) -> None:
        super().__init__("scoring", failure="Could not score images", pause=seconds)
        self._scoring = scoring
        self._datastore = datastore
        self._yield_to_users = yield_to_users

    def prepare(self) -> None:
        """Limit the thread to one core."""
        compute_on_one_core()

    def stop(self) -> None:
        """Request the end of the thread, which does not wait for a cluster then."""
        super().stop()
        self._scoring.close()

    def run_once(self) -> bool:
        """Score one image if one lacks a score and no user waits, or as many as the cluster can; return whether any."""
        places = self._scoring.places()
        if not places and self._yield_to_users.must_yield():
            return False
        due = self._scoring.due(self._datastore)[: max(1, places)]
        if places:
            with ThreadPoolExecutor(places, thread_name_prefix=self.name) as waiting:
                list(waiting.map(lambda image: self._scoring.score(image, self._datastore), due))
        elif due:
            self._scoring.score(due[0], self._datastore)
        return bool(due)


def compute_on_one_core() -> None:
    """Limit PyTorch to one core in this thread; other threads keep their number of cores.

    Several low-priority threads would wait for each other: on a busy machine one slice took minutes.
    """
    with _NUMBER_OF_CORES:
        cores = torch.get_num_threads()
        torch.set_num_threads(1)  # for this thread and every thread that computes for the first time later ...
        others = threading.Thread(target=torch.set_num_threads, args=(cores,))  # ... unless set again
        others.start()
        others.join()
