"""Limits on the number of connections, and timeouts of idle and slow ones.

An idle connection is kept for 75 seconds, longer than clients and proxies keep theirs: a server that closes first may
do so while the next request is on its way, and a client cannot know whether that request was processed.

uvicorn has no timeout for the headers of a request, and accepts connections until the process runs out of file
descriptors. It looks up its protocol class at each new connection, so a subclass with limits can replace it.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from dataclasses import dataclass
from typing import Any

import uvicorn

from lib.server.log_rules import RateLimitFilter
from lib.server.upstream_patches import replace_protocol

logger = logging.getLogger(__name__)

_BACKLOG = 128  # number of connections accepted before the first of them can be refused
_MAX_FILES = 65_536
_RESERVED_FILES = 256
_EVICTABLE_SECONDS = 2
_KEEP_ALIVE_SECONDS = 75  # nginx closes its connections to a server after 60
_UNREAD_SECONDS = 120
_BUSY = (
    b'{"detail": "The server has as many connections as it can serve. Try again in a moment."}',
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\nConnection: close\r\n",
)


@dataclass(frozen=True)
class ConnectionLimits:
    """Connection limits of one server.

    Attributes:
        connections: Largest number of simultaneous connections.
        head_seconds: Timeout from the first byte of a request, or the start of a connection, to the end of the headers.
            A connection that has served a request may be idle for longer.
    """

    connections: int
    head_seconds: float


def limit_connections(config: uvicorn.Config, limits: ConnectionLimits) -> None:
    """Apply ``limits`` to the server of ``config``, reduced if the process may not open as many files."""
    files = _allow_files()
    limits = ConnectionLimits(min(limits.connections, max(files - _RESERVED_FILES, files // 2)), limits.head_seconds)
    config.timeout_keep_alive = max(config.timeout_keep_alive, _KEEP_ALIVE_SECONDS)
    replace_protocol(config, lambda base: limited(base, limits), _BACKLOG)
    for name in ("asyncio", "uvicorn.error", __name__):
        logging.getLogger(name).addFilter(RateLimitFilter())


def limited(base: type[Any], limits: ConnectionLimits) -> type[Any]:
    """Return a subclass of uvicorn's protocol ``base`` with limits."""

    class LimitedProtocol(base):
        """Protocol of one connection."""

        refused = False
        waiting_since: float | None = None  # for the headers of a request
        head_timer: asyncio.TimerHandle | None = None
        unread_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Accept a connection, or respond with 503 and close it."""
            if len(self.connections) >= limits.connections and not _evict_idle(self.connections):
                self.refused = True
                logger.warning("More than %d connections: responded with 503.", limits.connections)
                body, head = _BUSY
                transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                transport.close()
                return
            super().connection_made(transport)
            self.watch_head()

        def data_received(self, data: bytes) -> None:
            """Process received bytes and update the timeout of the headers."""
            if self.refused:
                return
            super().data_received(data)
            self.watch_head()

        def on_response_complete(self) -> None:
            """Start waiting for the next request, part of which may have arrived already.

            If none of it has, the connection is idle, and uvicorn closes it after some time.
            """
            super().on_response_complete()
            if self.transport.is_closing() or not self.cycle.response_complete:
                return
            if _unprocessed(self):
                self.watch_head()
            else:
                self.waiting_since = self.loop.time()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop the timers."""
            self.stop_timer("head_timer")
            self.stop_timer("unread_timer")
            if not self.refused:
                super().connection_lost(exc)

        def eof_received(self) -> bool | None:
            """Handle the end of the client's stream."""
            return None if self.refused else super().eof_received()

        def pause_writing(self) -> None:
            """Start the timeout of a client that does not read the response."""
            super().pause_writing()
            self.unread_timer = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            """Stop the timeout of a client that reads again."""
            self.stop_timer("unread_timer")
            super().resume_writing()

        def watch_head(self) -> None:
            """Start the timer while the headers are incomplete, and stop it once they are complete."""
            if self.cycle is not None and not self.cycle.response_complete:
                self.stop_timer("head_timer")
                self.waiting_since = None
            elif self.head_timer is None:
                self.waiting_since = self.loop.time()
                self.head_timer = self.loop.call_later(limits.head_seconds, self.close_idle)

        def close_idle(self) -> None:
            """Close the connection if it is waiting for the headers of a request."""
            self.head_timer = None
            if self.waiting_since is not None:
                self.transport.abort()

        def stop_timer(self, name: str) -> None:
            """Cancel a timer if it is running."""
            if (timer := getattr(self, name)) is not None:
                timer.cancel()
                setattr(self, name, None)

    return LimitedProtocol


def _unprocessed(protocol: Any) -> bytes:
    """Return the received bytes of a request whose headers are incomplete, as far as uvicorn's h11 protocol has any."""
    return getattr(getattr(protocol, "conn", None), "trailing_data", (b"",))[0]


def _evict_idle(connections: set[Any]) -> bool:
    """Close the connection that has been idle longest, to make room for a new one; return whether one was closed."""
    now = asyncio.get_running_loop().time()
    idle = [one for one in connections if one.waiting_since is not None and not one.transport.is_closing()]
    oldest = min(idle, key=lambda one: one.waiting_since, default=None)
    if oldest is None or now - oldest.waiting_since < _EVICTABLE_SECONDS:
        return False
    oldest.transport.abort()
    connections.discard(oldest)
    return True


def _allow_files() -> int:
    """Raise the soft limit of open files as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _MAX_FILES if soft == resource.RLIM_INFINITY else soft
