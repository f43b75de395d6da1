"""Base class of the background threads: rounds of work, wake, pause, stop and join."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from lib.errors import UserError
from lib.processes.priority import work_in_background

logger = logging.getLogger(__name__)


class WorkerStopped(BaseException):
    """Raised within a round of work after the worker was stopped, to end the round.

    A ``BaseException``, like ``asyncio.CancelledError``, so that ``except Exception`` around single items passes it on.
    """


class Worker(ABC):
    """Repeat a round of work in a daemon thread until it is stopped.

    A failed round is logged and the thread continues, because a full disk or an unreachable PACS may recover.

    Args:
        name: Name of the thread.
        failure: Prefix of the log message of a failed round.
        pause: Seconds between two rounds, cut short by `wake`; None runs a round only after each `wake`.
        low_priority: Whether to lower the priority of the thread, for work that no user waits for.
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
        """Run one round of work; return True to run the next one without a pause."""

    def prepare(self) -> None:  # noqa: B027 - a hook that most workers do not need
        """Set up the thread; called once in the thread before the first round."""

    def start(self) -> None:
        """Start the thread if it was not started yet."""
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self.name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Run a round now, or right after the current one."""
        self._woken.set()

    def stop(self) -> None:
        """Request the end of the thread, after the current round or when that calls `check_stopped`."""
        self._stopped.set()
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the thread to end; return whether it has ended."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def check_stopped(self) -> None:
        """Raise `WorkerStopped` if the worker was stopped; call this within long rounds."""
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
