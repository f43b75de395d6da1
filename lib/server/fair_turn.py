"""Lock of one event loop that users take in turns, however many requests each of them sends."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable


class FairTurn:
    """Lock like ``asyncio.Lock``, which wakes one waiting request of each user in turn, the first one first.

    With a lock in the order of arrival, everybody would wait for the sixty requests that a program sends at once.
    """

    def __init__(self) -> None:
        self._locked = False
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()  # who is next comes first

    def locked(self) -> bool:
        """Return whether it is a request's turn now."""
        return self._locked

    async def acquire(self, user: Hashable) -> None:
        """Wait for the turn of a request of a user."""
        if not self._locked:
            self._locked = True
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # woken and cancelled at the same time
                self.release()
            raise

    def release(self) -> None:
        """End the turn, and wake the request whose turn is next."""
        while self._waiting:
            user, requests = self._waiting.popitem(last=False)
            following = requests.popleft()
            if requests:
                self._waiting[user] = requests
            if not following.done():
                following.set_result(None)
                return
        self._locked = False
