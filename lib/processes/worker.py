"""The background thread of this app: wake, run a round of work, pause, stop, join."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from lib.errors import UserError
from lib.processes.priority import work_in_background

logger = logging.getLogger(__name__)


class WorkerStopped(BaseException):
    """Raised in a round of work to end it, because the worker is stopped.

    A ``BaseException``, as ``asyncio.CancelledError`` is: code that survives any error of one item must not survive it.
    """


class Worker(ABC):
    """Repeat a round of work in a daemon thread until it is stopped.

    A round that fails is logged and the thread goes on: a full disk or an unreachable PACS may be back later.

    Args:
        name: Name of the thread.
        failure: Sentence that introduces the error of a failed round in the log.
        pause: Seconds between two rounds, cut short by `wake`; None runs a round only after each `wake`.
        low_priority: Whether the thread gives way to others; for work that nobody waits for.
    """

    def __init__(self, name: str, *, failure: str, pause: float | None, low_priority: bool = True) -> None:
        self.name = name
        self._failure = failure
        self._pause = pause
        self._low_priority = low_priority
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run_once(self) -> bool | None:
        """Run one round of work; return whether the next one is due without a pause."""

    def prepare(self) -> None:  # noqa: B027 - a hook that most workers do not need
        """Set up the thread; called in it once, before the first round."""

    def start(self) -> None:
        """Start the thread, unless it was started before."""
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self.name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Run a round now, or right after the one that is running."""
        self._woken.set()

    def stop(self) -> None:
        """Ask the thread to end after the round that is running, or earlier where that calls `check_stopped`."""
        self._stopped.set()
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the thread to end; return whether it has ended."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def check_stopped(self) -> None:
        """Raise `WorkerStopped` if the worker is stopped; to be called within long rounds."""
        if self._stopped.is_set():
            raise WorkerStopped

    def _loop(self) -> None:
        if self._low_priority:
            work_in_background()
        self.prepare()
        due = self._pause is not None
        while not self._stopped.is_set():
            if due:
                due = self._round()
            else:
                self._woken.wait(self._pause)
                self._woken.clear()
                due = True

    def _round(self) -> bool:
        try:
            return bool(self.run_once())
        except WorkerStopped:
            return False
        except (OSError, UserError) as error:
            logger.warning("%s: %s: %s", self._failure, type(error).__name__, error)
        except Exception:
            logger.exception("%s", self._failure)
        return False
