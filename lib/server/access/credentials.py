"""Credentials in a request: session cookie, bearer token, or the header of a trusted reverse proxy."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import cookie_parser

from lib.identity.authentication import Authentication, Identity
from lib.identity.roles import Role
from lib.server.access.path_prefix import prefix_of

COOKIE = "lunglabel_session"
PROXY_SECRET_HEADER = "x-proxy-secret"


@dataclass(frozen=True)
class TrustedProxy:
    """Reverse proxy that logs users in and sends their names.

    Attributes:
        header: Name of the header with the name of the user, in lower case.
        secret: Value of the header ``X-Proxy-Secret`` that proves that the proxy sent the request.
        role: Role of users without a local account.
    """

    header: str
    secret: str
    role: Role


def identify(
    headers: Mapping[str, str], authentication: Authentication, proxy: TrustedProxy | None = None
) -> Identity | None:
    """Return who sent a request; None if nobody is logged in.

    Args:
        headers: Headers of the request, names in lower case.
        authentication: Log-in of the server.
        proxy: Trusted reverse proxy, if one is configured.
    """
    if proxy is not None and (name := headers.get(proxy.header, "").strip()):
        sent = headers.get(PROXY_SECRET_HEADER, "")
        if not hmac.compare_digest(sent.encode(), proxy.secret.encode()):
            return None
        account = authentication.accounts.all().get(name)
        return Identity(name[:64], account.role if account else proxy.role)
    token = token_of(headers)
    return authentication.identify(token) if token else None


def token_of(headers: Mapping[str, str]) -> str:
    """Return the session token of a request, of programs or browsers; empty if it has none."""
    if token := bearer_token_of(headers):
        return token
    # Not http.cookies, which drops all cookies if one of another program on this host is unusual.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def bearer_token_of(headers: Mapping[str, str]) -> str:
    """Return the token in the header ``Authorization: Bearer``; empty if there is none (RFC 6750)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def session_cookie(token: str, seconds: float, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``set_cookie`` for a session token.

    Args:
        token: Token of the session.
        seconds: Time until the session ends, seconds.
        scope: ASGI scope of the request that logs in.
    """
    return {
        "key": COOKIE,
        "value": token,
        "max_age": int(seconds),
        "httponly": True,
        "samesite": "strict",
        "secure": scope.get("scheme") == "https",
        "path": prefix_of(scope) or "/",
    }
