"""Path prefix of a reverse proxy (``--root_path``), such as ``/lung``, before all paths of this server.

uvicorn puts it before the path of each request, whose proxy has removed it. Inside the server paths have no prefix:
routes and redirects are written without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Headers = Iterable[tuple[bytes, bytes]]


def prefix_of(scope: Mapping[str, Any]) -> str:
    """Return the prefix, without a slash at its end; empty if there is none.

    Args:
        scope: ASGI scope of a request.
    """
    return scope.get("app_root_path", scope.get("root_path", ""))


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the path of a request without the prefix."""
    return scope["path"].removeprefix(prefix_of(scope))


def raw_path_of(scope: Mapping[str, Any]) -> bytes | None:
    """Return the undecoded path of a request without the prefix; None if the server does not provide it."""
    raw: bytes | None = scope.get("raw_path")
    return raw.removeprefix(prefix_of(scope).encode()) if raw is not None else None


def below_prefix(headers: Headers, prefix: str) -> Headers:
    """Return the headers of a response with the prefix before a redirect to a path of this server."""
    if not prefix:
        return headers
    return [
        (name, prefix.encode() + value)
        if name.lower() == b"location" and value.startswith(b"/") and not value.startswith(b"//")
        else (name, value)
        for name, value in headers
    ]
