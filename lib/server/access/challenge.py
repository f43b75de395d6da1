"""Responses to requests of nobody who is logged in."""

from __future__ import annotations

import html
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from lib.server.access.bodies import Receive, Send, refuse
from lib.server.access.path_prefix import path_of, prefix_of

_REASON = (
    "Nobody is logged in, or the session has ended. Log in at /login in a browser; a program sends the token of "
    "POST /auth/token in the header Authorization: Bearer."
)


async def refuse_without_login(
    scope: Mapping[str, Any], headers: Mapping[str, str], receive: Receive, send: Send, *, page: bool
) -> None:
    """Lead a person who opens a page to the log-in page, and refuse all other requests with 401.

    A browser does not send a SameSite=Strict cookie when it follows a link from another site. Such a page is requested
    once more, by this server's own page, before the log-in page is shown.
    """
    if not (page and scope["method"] == "GET" and "text/html" in headers.get("accept", "")):
        await refuse(receive, send, HTTPStatus.UNAUTHORIZED, _REASON)
        return
    path = quote(path_of(scope))
    if query := scope.get("query_string", b"").decode("latin-1"):
        path += f"?{query}"
    if headers.get("sec-fetch-site") == "cross-site":
        await send_reload(send, prefix_of(scope) + path)
        return
    await redirect(send, f"/login?next={quote(path, safe='')}")


async def redirect(send: Send, path: str) -> None:
    """Send a browser to another path of this server; the middleware puts the path prefix before it."""
    head = [(b"location", path.encode("latin-1")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": int(HTTPStatus.SEE_OTHER), "headers": head})
    await send({"type": "http.response.body", "body": b""})


async def send_reload(send: Send, path: str) -> None:
    """Send a page that opens ``path`` of this server, as a request of this site."""
    body = reload_page(path).encode()
    head = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": int(HTTPStatus.OK), "headers": head})
    await send({"type": "http.response.body", "body": body})


def reload_page(path: str) -> str:
    """Return a page that opens ``path``, a path of this server or a URL, as a request of this site."""
    target = html.escape(path, quote=True)
    return f'<!doctype html><meta http-equiv="refresh" content="0; url={target}"><a href="{target}">Go on</a>'
