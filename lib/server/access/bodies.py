"""How large the body of a request may be, and how long it may take to come."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MIB = 1 << 20
_SLOWEST = 4096  # bytes per second, on average, after the first `patience` seconds
_DRAIN_SECONDS = 30
_DRAIN_IDLE_SECONDS = 2


class LimitedBody:
    """The ASGI channel ``receive`` of one request, with a limit on size and on waiting.

    Args:
        receive: Of the server.
        limit: Bytes.
        patience: Seconds that are waited for the client in all, beyond those that its bytes earn it.
        setting: What sets the limit, for the sentence that refuses.
    """

    def __init__(self, receive: Receive, limit: int, patience: float, setting: str | None = None) -> None:
        self._receive = receive
        self._limit = limit
        self._patience = patience
        self._setting = setting
        self._size = 0
        self._waited = 0.0  # for the client; while the server is busy nobody waits
        self._complete = False

    async def __call__(self) -> Message:
        """Return the next part.

        Raises:
            HTTPException: 413 as soon as there is too much, 408 if it comes too slowly.
        """
        if self._complete:
            return await self._receive()
        begun = time.monotonic()
        left = self._patience + self._size / _SLOWEST - self._waited
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The body of the request came too slowly: {self._size} bytes in {self._waited + left:.0f} s.",
                headers={"Connection": "close"},
            ) from None
        self._waited += time.monotonic() - begun
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._size > self._limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(self._limit, self._setting))
        return message


def too_large(limit: int, setting: str | None = None) -> str:
    """Return the sentence for a body above ``limit`` bytes."""
    allowed = f"{limit / MIB:.0f} MiB" if limit >= MIB else f"{limit} bytes"
    more = f" The limit is set by --conf {setting} MIB." if setting else ""
    return f"The body of the request is larger than the {allowed} that this server takes here.{more}"


async def answer(send: Send, status: int, sentence: str, *, complete: bool = True) -> None:
    """Answer with one sentence.

    Args:
        send: ASGI channel of the request.
        status: Of HTTP.
        sentence: For the client's user.
        complete: Whether the answer ends here; an empty part has to follow otherwise.
    """
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not complete})


async def refuse(receive: Receive, send: Send, status: int, sentence: str) -> None:
    """Answer at once, then discard what is still coming: closing before would destroy the answer on its way."""
    await answer(send, status, sentence, complete=False)
    deadline = time.monotonic() + _DRAIN_SECONDS
    try:
        while time.monotonic() < deadline:
            message = await asyncio.wait_for(receive(), _DRAIN_IDLE_SECONDS)
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
    except asyncio.TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
