"""Log-in at the identity provider: ``/login/oidc`` (OpenID Connect Core 1.0, section 3.1)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from lib.errors import UserError
from lib.identity.authentication import Authentication
from lib.identity.oidc.attempts import SECONDS
from lib.identity.oidc.openid_login import OpenIdLogin
from lib.server.access.challenge import reload_page
from lib.server.access.credentials import session_cookie, token_of
from lib.server.access.path_prefix import prefix_of
from lib.server.login_page import START, local_path, login_page

_CALLBACK = "/login/oidc/callback"


def oidc_router(authentication: Authentication | None) -> APIRouter:
    """Return the routes of the code flow.

    Args:
        authentication: Log-in of the server; None while it is off.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/login/oidc")
    def begin(request: Request, next: str = START) -> Response:
        login, openid = _required(authentication)
        redirect_uri = f"{str(request.base_url).rstrip('/')}{_CALLBACK}"
        try:
            url, attempt = openid.begin(redirect_uri, local_path(next), token_of(request.headers))
        except UserError as error:
            return login_page(request, login, next, str(error), int(error.status))
        answer = RedirectResponse(url, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
        answer.set_cookie(**_attempt_cookie(attempt.state, request), value=attempt.browser, max_age=int(SECONDS))
        return answer

    @router.get(_CALLBACK)
    def complete(request: Request, state: str = "") -> Response:
        login, openid = _required(authentication)
        cookie = _attempt_cookie(state, request)
        try:
            person, attempt = openid.complete(request.query_params, request.cookies.get(str(cookie["key"]), ""))
            token = login.admit(person, request.client.host if request.client else "")
        except UserError as error:
            return login_page(request, login, START, str(error), int(error.status))
        login.log_out(attempt.former)
        # Another site has led here. The SameSite=Strict cookie is sent to a page that this server leads to.
        page = reload_page(prefix_of(request.scope) + attempt.next)
        answer = HTMLResponse(page, headers={"Cache-Control": "no-store"})
        answer.set_cookie(**session_cookie(token, login.session_seconds, request.scope))
        answer.set_cookie(**cookie, value="", max_age=0)
        return answer

    return router


def _attempt_cookie(state: str, request: Request) -> dict[str, Any]:
    """Return the arguments of ``set_cookie`` for an attempt; each has its own, for several tabs."""
    return {
        "key": f"lunglabel_oidc_{state[:16]}",
        "httponly": True,
        "samesite": "lax",
        "secure": request.scope.get("scheme") == "https",
        "path": f"{prefix_of(request.scope)}/login/oidc",
    }


def _required(authentication: Authentication | None) -> tuple[Authentication, OpenIdLogin]:
    if authentication is None or authentication.openid is None:
        raise UserError("This server knows no identity provider (oidc_issuer).", HTTPStatus.NOT_FOUND)
    return authentication, authentication.openid
