"""The one place that decides whether a request is answered at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lib.server.access.bodies import LimitedBody, Message, Receive, Send, answer, refuse, too_large
from lib.server.access.headers import with_security_headers
from lib.server.access.hosts import AllowedHosts
from lib.server.access.origins import foreign_origin
from lib.server.access.route_table import Body, Offer, offer_of
from lib.server.log_rules import RateLimitFilter

logger = logging.getLogger(__name__)
logger.addFilter(RateLimitFilter())

_ENDING = "The server is being stopped. Try again when it runs again."


@dataclass(frozen=True)
class BodyLimits:
    """What may be sent.

    Attributes:
        sizes: Bytes for each kind of body.
        settings: Name of the setting behind a size, for the sentence that refuses.
        patience: Seconds that the server waits for a client in one request.
    """

    sizes: dict[Body, int]
    settings: dict[Body, str]
    patience: float


class Access:
    """ASGI middleware around everything that the server answers.

    Args:
        app: What answers.
        hosts: Names that the server answers to.
        limits: Of bodies.
        origins: Of other pages that the user allows.
    """

    def __init__(self, app: Any, hosts: AllowedHosts, limits: BodyLimits, origins: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with a sentence before anything was done."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": with_security_headers(message.get("headers", ()))}
            await send(message)

        offer = offer_of(scope["method"], scope["path"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers, offer)
        if refusal is not None:
            status, sentence = refusal
            logger.info("%s %s refused: %s", scope["method"], scope["path"], sentence)
            await refuse(receive, send_with_headers, status, sentence)
            return
        limits, kind = self._limits, offer.body
        limited = LimitedBody(receive, limits.sizes[kind], limits.patience, limits.settings.get(kind))
        try:
            await self._app(scope, limited, send_with_headers)
        except asyncio.CancelledError:  # by uvicorn, at its end; passed on, it would be logged with a traceback
            logger.info("%s %s was cancelled: the server ends", scope["method"], scope["path"])
            if not started:
                await answer(send_with_headers, HTTPStatus.SERVICE_UNAVAILABLE, _ENDING)

    def _refusal(self, scope: dict[str, Any], headers: dict[str, str], offer: Offer) -> tuple[int, str] | None:
        host = headers.get("host")
        local = scope.get("server") or (None,)
        if not self._hosts.allow(host, local[0]):
            return HTTPStatus.BAD_REQUEST, (
                f"This server does not answer to the name {(host or '')[:100]!r}. Open it by a name of this machine, "
                "or start it with --conf allowed_hosts NAME."
            )
        page = foreign_origin(scope["method"], headers, costs=offer.costs, page=offer.page, allowed=self._origins)
        if page is not None:
            return HTTPStatus.FORBIDDEN, (
                f"A web page of another site ({page[:100]}) asked for this. Only programs and this server's pages may."
            )
        limit = self._limits.sizes[offer.body]
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(limit, self._limits.settings.get(offer.body))
        return None
