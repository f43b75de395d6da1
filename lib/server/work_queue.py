"""Queue for long-running requests, processed one at a time in a separate thread."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from fastapi import HTTPException, Request

from lib.processes.worker import Worker
from lib.server.fair_turn import FairTurn

_Result = TypeVar("_Result")

_MAX_WAITING = 64
_DISCONNECT_CHECK_SECONDS = 0.5
_CLIENT_CLOSED_REQUEST = 499  # nginx's code; no client reads the response


class Durations(NamedTuple):
    """Seconds that a request has waited for its turn, and that its work has taken.

    Attributes:
        waited: Seconds until the turn.
        worked: Seconds of the work.
        kept: Whether the work was done before, for another request.
    """

    waited: float
    worked: float
    kept: bool = False

    @property
    def server_timing(self) -> str:
        """Value of the header ``Server-Timing`` (W3C), milliseconds."""
        kept = ", kept" if self.kept else ""
        return f"queue;dur={1000 * self.waited:.1f}, work;dur={1000 * self.worked:.1f}{kept}"


class DoneMeanwhileError(Exception):
    """The work was done for another request while this one waited for its turn."""


class WorkQueue(Worker):
    """Worker that processes one request at a time, those of several users in turn, each user's in order of arrival.

    FastAPI has 40 threads for all synchronous routes. If inferences waited in them, 40 of them would leave no thread
    for listing cases or submitting a label.

    Args:
        name: Name of the kind of work, in the plural, for messages.
        max_waiting: Largest number of waiting requests; more are refused.
        low_priority: Whether to lower the priority of the thread, for work that no user waits for.
    """

    def __init__(self, name: str, max_waiting: int = _MAX_WAITING, *, low_priority: bool = False) -> None:
        super().__init__(name, failure=f"The queue of {name} failed", pause=None, low_priority=low_priority)
        self._max_waiting = max_waiting
        self._turn = FairTurn()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._seconds = 10.0  # duration of the last work
        self.waiting = 0

    @property
    def running(self) -> bool:
        """Whether a request is being processed."""
        return self._turn.locked()

    @property
    def busy(self) -> bool:
        """Whether a request is being processed or waits for it."""
        return self.running or self.waiting > 0

    async def run(
        self,
        request: Request,
        work: Callable[[], _Result],
        user: Hashable = None,
        is_done: Callable[[], bool] = lambda: False,
    ) -> _Result:
        """Wait for the turn of this request, call ``work`` in the thread of the queue, and return its result.

        Args:
            request: The request, whose ``state.durations`` is set.
            work: Returns the result.
            user: Who sent the request; users take turns.
            is_done: Returns whether the same work was done for another request meanwhile.

        Raises:
            DoneMeanwhileError: ``is_done`` returned True before the turn of this request.
            HTTPException: 503 if too many requests are waiting; 499 if the client disconnected before its turn, in
                which case ``work`` is not called.
        """
        if self.waiting >= self._max_waiting:
            seconds = round(min(max(self._seconds * self.waiting, 1), 600))
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.waiting} {self.name} are waiting, and no more are accepted. Try again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )
        self.waiting += 1
        arrived = time.monotonic()
        try:
            await self._wait_for_turn(request, user, is_done)
        finally:
            self.waiting -= 1
        began = time.monotonic()
        try:
            return await asyncio.wrap_future(self._submit(work))
        finally:
            self._seconds = time.monotonic() - began
            self._turn.release()
            request.state.durations = Durations(began - arrived, self._seconds)

    def run_once(self) -> bool:
        """Process the next request; return whether there was one."""
        try:
            future, work = self._jobs.get_nowait()
        except queue.Empty:
            return False
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
        del future, work  # the error refers to this frame: a cycle would keep the voxels of a failed inference
        return True

    def _submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        future: Future[_Result] = Future()
        self._jobs.put((future, work))
        self.start()
        self.wake()
        return future

    async def _wait_for_turn(self, request: Request, user: Hashable, is_done: Callable[[], bool]) -> None:
        mine = asyncio.ensure_future(self._turn.acquire(user))
        try:
            while not mine.done():
                await asyncio.wait({mine}, timeout=_DISCONNECT_CHECK_SECONDS)
                if await request.is_disconnected():
                    raise HTTPException(_CLIENT_CLOSED_REQUEST, "The client disconnected before its turn.")
                if is_done():
                    raise DoneMeanwhileError
        except BaseException:
            if mine.done() and not mine.cancelled():
                self._turn.release()
            else:
                mine.cancel()
            raise
