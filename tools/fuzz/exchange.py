"""HTTP requests written as raw bytes, so that they can be malformed, and checks of the responses."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_MOST_BYTES = 64 << 20  # of a response; the rest is not read
_OVERLOADED = (503, 504)  # returned on purpose when overloaded
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TRACEBACK = b"Traceback (most recent call last)"


@dataclass(frozen=True)
class Exchange:
    """A request.

    Attributes:
        method: HTTP method.
        target: Path and query, percent-encoded.
        headers: Headers other than Host, Connection and Content-Length.
        body: Body.
        length: Claimed Content-Length; None for that of the body.
        host: Value of the Host header; None for that of the server.
        forbidden: Whether it comes from a page of another site or is for another host, and must be refused.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    host: str | None = None
    forbidden: bool = False

    @property
    def is_broken_off(self) -> bool:
        """Whether the body is shorter than claimed; the server may then close the connection without a response."""
        return self.length is not None and self.length > len(self.body)

    @property
    def is_no_http(self) -> bool:
        """Whether its headers violate RFC 9112; the server may then close the connection early, losing its 400."""
        return "host" in map(str.lower, self.headers) or any(_CONTROL.search(value) for value in self.headers.values())

    def __str__(self) -> str:
        kind = self.headers.get("Content-Type", "no type")
        origin = " of a foreign page or host" if self.forbidden else ""
        return f"{self.method} {self.target[:300]}{origin} with {len(self.body)} bytes of {kind[:80]}"


@dataclass(frozen=True)
class Answer:
    """A response; status 0 if the server closed the connection without one. Names of headers are in lower case."""

    status: int
    body: bytes
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> object:
        """Parse the body as JSON."""
        return json.loads(self.body)


def send(url: str, exchange: Exchange, timeout: float) -> Answer:
    """Send a request and read the response.

    Raises:
        TimeoutError: It took longer than ``timeout`` seconds.
        ConnectionRefusedError: No server is listening.
    """
    address = urlsplit(url)
    begun = time.monotonic()
    length = len(exchange.body) if exchange.length is None else exchange.length
    host = exchange.host or address.netloc
    lines = [f"{exchange.method} {exchange.target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"Content-Length: {length}", *(f"{name}: {value}" for name, value in exchange.headers.items())]
    with socket.create_connection((address.hostname, address.port), timeout=timeout) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + exchange.body)
            if exchange.is_broken_off:
                connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection, method=exchange.method)
        try:
            answer.begin()
            chunks, size = [], 0
            while size < _MOST_BYTES and (chunk := answer.read(1 << 20)):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() - begun > timeout:
                    raise TimeoutError
            named: dict[str, str] = {}
            for name, value in answer.getheaders():
                named[name.lower()] = f"{named[name.lower()]}, {value}" if name.lower() in named else value
            return Answer(answer.status, b"".join(chunks), time.monotonic() - begun, named)
        except (http.client.HTTPException, ConnectionError):
            return Answer(0, b"", time.monotonic() - begun)


def problem_of(exchange: Exchange, answer: Answer) -> str | None:
    """Return what is wrong with a response; None if it is acceptable."""
    if answer.status == 0 and not (exchange.is_broken_off or exchange.is_no_http):
        return f"{exchange}: no answer"
    if answer.status >= 500 and answer.status not in _OVERLOADED:
        return f"{exchange}: {answer.status} {answer.body[:300]!r}"
    if exchange.forbidden and not 400 <= answer.status < 500 and not exchange.is_broken_off:
        return f"{exchange}: {answer.status}, but it must be refused ({exchange.host}, {dict(exchange.headers)})"
    if _TRACEBACK in answer.body and not exchange.target.startswith("/logs"):  # the log may contain tracebacks
        return f"{exchange}: a traceback in the answer"
    return None


def multipart(fields: Sequence[tuple[str, str | None, bytes]], boundary: str = "b0undary") -> tuple[str, bytes]:
    """Return content type and body of a form with (name, file name or None, content) of each field."""
    body = b""
    for name, file, content in fields:
        attribute = "" if file is None else f'; filename="{file}"'
        line = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{attribute}\r\n\r\n'
        body += line.encode("utf-8", "replace") + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()
