"""Size limit and timeout of request bodies."""

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
_MIN_BYTES_PER_SECOND = 4096  # on average, after the first `timeout` seconds
_DRAIN_SECONDS = 30
_DRAIN_IDLE_SECONDS = 2


class LimitedBody:
    """ASGI ``receive`` channel of one request with a size limit and a timeout.

    Args:
        receive: The server's channel.
        limit: Largest size, bytes.
        timeout: Total time to wait for the client, seconds, in addition to the size of the body at 4 KiB/s.
        setting: Name of the setting of the limit, for the error message.
    """

    def __init__(self, receive: Receive, limit: int, timeout: float, setting: str | None = None) -> None:
        self._receive = receive
        self._limit = limit
        self._timeout = timeout
        self._setting = setting
        self._size = 0
        self._waited = 0.0  # for the client; time in which the server is busy does not count
        self._complete = False

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            HTTPException: 413 as soon as the body is too large, 408 if it is too slow.
        """
        if self._complete:
            return await self._receive()
        begun = time.monotonic()
        left = self._timeout + self._size / _MIN_BYTES_PER_SECOND - self._waited
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
    """Return the error message for a body above ``limit`` bytes."""
    allowed = f"{limit / MIB:.0f} MiB" if limit >= MIB else f"{limit} bytes"
    more = f" The limit is set by --conf {setting} MIB." if setting else ""
    return f"The body of the request is larger than the {allowed} that this server accepts here.{more}"


async def send_error(send: Send, status: int, message: str, *, complete: bool = True) -> None:
    """Send an error response with one message.

    Args:
        send: ASGI channel of the request.
        status: HTTP status code.
        message: Text for the user of the client.
        complete: Whether the response ends here; otherwise an empty part must follow.
    """
    body = json.dumps({"detail": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": not complete})


async def refuse(receive: Receive, send: Send, status: int, message: str) -> None:
    """Send an error response at once, then discard the rest of the request body.

    Closing the connection while the client still sends would reset it before the client reads the response.
    """
    await send_error(send, status, message, complete=False)
    deadline = time.monotonic() + _DRAIN_SECONDS
    try:
        while time.monotonic() < deadline:
            received = await asyncio.wait_for(receive(), _DRAIN_IDLE_SECONDS)
            if received["type"] != "http.request" or not received.get("more_body", False):
                break
    except asyncio.TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
