"""Scoring in the background of the server, out of everybody's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lib.activelearning.uncertainty_scoring import DoubtScoring
from lib.datastore.series_datastore import SeriesDatastore
from lib.processes.worker import Worker

_SECONDS_OF_A_PAUSE = 0.2


class Courtesy:
    """Whether somebody waits for the machine, so that the background stands still.

    Args:
        others: Whether something else runs that is waited for, like a training.
    """

    def __init__(self, others: Callable[[], bool]) -> None:
        self._others = others
        self._waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def somebody_waits(self) -> Iterator[None]:
        """For as long as a person waits for an inference."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def needed(self) -> bool:
        """Whether to stand still now."""
        return self._waiting > 0 or self._others()

    def stand_aside(self) -> None:
        """Return as soon as nobody waits."""
        while self.needed():
            time.sleep(_SECONDS_OF_A_PAUSE)

    def _count(self, step: int) -> None:
        with self._lock:
            self._waiting += step


class BackgroundScoring(Worker):
    """Score one image after the other, at low priority, whenever nobody waits for the machine.

    Args:
        scoring: What scores, and knows which images lack a score.
        datastore: Where the images are.
        courtesy: When to stand still.
        seconds: Pause while there is nothing to do.
    """

    def __init__(
        self, scoring: DoubtScoring, datastore: SeriesDatastore, courtesy: Courtesy, seconds: float = 5.0
    ) -> None:
        super().__init__("scoring", failure="Could not score images", pause=seconds)
        self._scoring = scoring
        self._datastore = datastore
        self._courtesy = courtesy

    def prepare(self) -> None:
        """Compute on one core."""
        compute_on_one_core()

    def run_once(self) -> bool:
        """Score one image if one lacks a score and nobody waits; return whether that was the case."""
        due = [] if self._courtesy.needed() else self._scoring.due(self._datastore)
        if due:
            self._scoring.score(due[0], self._datastore)
        return bool(due)


def compute_on_one_core() -> None:
    """Let PyTorch use one core in this thread, and as many as before in all others.

    Several threads at low priority wait for each other: on a busy machine one slice took minutes.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and of every thread that begins to compute later ...
    others = threading.Thread(target=torch.set_num_threads, args=(cores,))  # ... unless it is said anew
    others.start()
    others.join()
