"""ASGI middleware that decides whether a request is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lib.errors import UserError
from lib.identity.authentication import Identity
from lib.server.access.blinding import Views
from lib.server.access.bodies import LimitedBody, Message, Receive, Send, refuse, send_error, too_large
from lib.server.access.challenge import redirect, refuse_without_login
from lib.server.access.headers import with_security_headers
from lib.server.access.hosts import AllowedHosts
from lib.server.access.login_rules import Login
from lib.server.access.origins import foreign_origin
from lib.server.access.path_prefix import below_prefix, path_of, prefix_of
from lib.server.access.request_audit import audit_request
from lib.server.access.route_table import Body, RouteSpec, find_route
from lib.server.log_rules import RateLimitFilter

logger = logging.getLogger(__name__)
logger.addFilter(RateLimitFilter())

_START_IN_STUDY = "/ohif/"  # of users whose view a reader study restricts: the status page shows all cases
_ENDING = "The server is shutting down. Try again after it has been restarted."


@dataclass(frozen=True)
class BodyLimits:
    """Limits of request bodies.

    Attributes:
        sizes: Largest size of each kind of body, bytes.
        settings: Name of the setting of each size, for the error message.
        timeout: Time that the server waits for a client in one request, seconds.
    """

    sizes: dict[Body, int]
    settings: dict[Body, str]
    timeout: float


class Access:
    """ASGI middleware that checks host, origin, body size and user of every request, and adds security headers.

    Args:
        app: The wrapped application.
        hosts: Accepted names of the server.
        limits: Limits of request bodies.
        origins: Other origins that the user allows.
        login: Log-in; None if the server needs none.
        views: What each user may see; None without a reader study.
    """

    def __init__(
        self,
        app: Any,
        hosts: AllowedHosts,
        limits: BodyLimits,
        origins: Collection[str] = (),
        login: Login | None = None,
        views: Views | None = None,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._login = login
        self._views = views

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with an error message."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        status = 0
        identity: Identity | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._login and identity and route.audit:  # before the answer: the server may be killed after it
                    await audit_request(self._login.authentication.audit, identity, route, scope, status)
                sent = below_prefix(message.get("headers", ()), prefix_of(scope))
                message = {**message, "headers": with_security_headers(sent)}
            await send(message)

        route = find_route(scope["method"], path_of(scope))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers, route)
        if refusal is None and self._login:
            try:
                identity = await self._identity(self._login, headers, route)
            except UserError as error:
                refusal = int(error.status), str(error)
        if refusal is None and self._login and identity is None and route.role is not None:
            await refuse_without_login(scope, headers, receive, send_with_headers, page=route.page)
            return
        refusal = refusal or _missing_role(identity, route)
        if refusal is None and self._views is not None and route.role is not None:
            refusal = await asyncio.to_thread(self._views.refusal, identity, route, scope)
            if refusal is not None and route.page:
                await redirect(send_with_headers, _START_IN_STUDY)
                return
        if refusal is not None:
            code, reason = refusal
            logger.info("%s %s refused: %s", scope["method"], scope["path"], reason)
            await refuse(receive, send_with_headers, code, reason)
            return
        scope["state"] = {**scope.get("state", {}), "identity": identity}
        if self._views is not None:
            scope["state"]["view"] = self._views.of(identity)
        limits, kind = self._limits, route.body
        limited = LimitedBody(receive, limits.sizes[kind], limits.timeout, limits.settings.get(kind))
        try:
            await self._app(scope, limited, send_with_headers)
        except asyncio.CancelledError:  # raised by uvicorn at shutdown; propagated, it would be logged with a traceback
            logger.info("%s %s was cancelled: the server is shutting down", scope["method"], scope["path"])
            if not status:
                await send_error(send_with_headers, HTTPStatus.SERVICE_UNAVAILABLE, _ENDING)

    @staticmethod
    async def _identity(login: Login, headers: dict[str, str], route: RouteSpec) -> Identity | None:
        found = login.identify(headers)
        if found and route.role is not None and login.authentication.needs_renewal(found):
            found = await login.renewed(found)
        return found if found or route.role is None else await login.identify_by_access_token(headers)

    def _refusal(self, scope: dict[str, Any], headers: dict[str, str], route: RouteSpec) -> tuple[int, str] | None:
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in scope["path"]):
            return HTTPStatus.BAD_REQUEST, "The path has control characters. No address of this server has any."
        host = headers.get("host")
        local = scope.get("server") or (None,)
        if not self._hosts.allow(host, local[0]):
            return HTTPStatus.BAD_REQUEST, (
                f"This server does not accept the host name {(host or '')[:100]!r}. Use a name of this machine, or "
                "start the server with --conf allowed_hosts NAME."
            )
        page = foreign_origin(
            scope["method"], headers, expensive=route.expensive, page=route.page, allowed=self._origins
        )
        if page is not None:
            return HTTPStatus.FORBIDDEN, (
                f"A web page of another site ({page[:100]}) sent this request. Only programs and pages of this server "
                "may."
            )
        limit = self._limits.sizes[route.body]
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(limit, self._limits.settings.get(route.body))
        return None


def _missing_role(identity: Identity | None, route: RouteSpec) -> tuple[int, str] | None:
    if identity is None or route.role is None or identity.role >= route.role:
        return None
    return HTTPStatus.FORBIDDEN, (
        f"{identity.name} has the role {identity.role.title}; this needs the role {route.role.title}. "
        "An administrator can change it: python main.py users."
    )
