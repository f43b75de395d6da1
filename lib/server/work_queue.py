"""A queue for what takes long: one after the other, and none of it in the threads that answer all other requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

from fastapi import HTTPException, Request

_Result = TypeVar("_Result")

_AT_MOST = 64
_LOOK_SECONDS = 0.5
_CLIENT_CLOSED_REQUEST = 499  # nobody reads it; nginx's name for it


class WorkQueue:
    """Does one piece of work at a time, in the order of the requests.

    FastAPI answers every route that computes in one of 40 threads. Were inferences to wait there, 40 of them would
    leave none to list cases or to submit a label.

    Args:
        name: What the work is, in plural, for people.
        at_most: Requests that may wait; further ones are refused.
    """

    def __init__(self, name: str, at_most: int = _AT_MOST) -> None:
        self._name = name
        self._at_most = at_most
        self._turn = asyncio.Lock()  # wakes who waits in their order
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._seconds = 10.0  # that the last one took
        self.waiting = 0

    @property
    def running(self) -> bool:
        """Whether work is done now."""
        return self._turn.locked()

    async def run(self, request: Request, work: Callable[[], _Result]) -> _Result:
        """Wait for the turn of this request and return what ``work`` returns, called in the queue's own thread.

        Raises:
            HTTPException: 503 where too many wait already; 499 where the client has gone before its turn, and
                nothing is done.
        """
        if self.waiting >= self._at_most:
            seconds = round(min(max(self._seconds * self.waiting, 1), 600))
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.waiting} {self._name} wait already, and no more are accepted. Try again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )
        self.waiting += 1
        try:
            await self._wait_for_turn(request)
        finally:
            self.waiting -= 1
        began = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            self._seconds = time.monotonic() - began
            self._turn.release()

    async def _wait_for_turn(self, request: Request) -> None:
        mine = asyncio.ensure_future(self._turn.acquire())
        try:
            while not mine.done():
                await asyncio.wait({mine}, timeout=_LOOK_SECONDS)
                if await request.is_disconnected():
                    raise HTTPException(_CLIENT_CLOSED_REQUEST, "The client has gone before its turn.")
        except BaseException:
            if mine.done() and not mine.cancelled():
                self._turn.release()
            else:
                mine.cancel()
            raise
