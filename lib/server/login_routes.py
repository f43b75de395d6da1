"""Log-in and log-out: ``/login`` for people in a browser, ``/auth`` for 3D Slicer and programs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.endpoints.user.auth import User

from lib.errors import UserError
from lib.identity.authentication import Authentication
from lib.server.access.challenge import reload_page
from lib.server.access.credentials import COOKIE, session_cookie, token_of
from lib.server.access.path_prefix import prefix_of
from lib.server.current_user import current_user
from lib.server.login_page import START, local_path, login_page


def login_router(authentication: Authentication | None) -> APIRouter:
    """Return the log-in routes.

    Args:
        authentication: Log-in of the server; None while it is off.
    """
    router = APIRouter(tags=["Log-in"])

    @router.get("/login", include_in_schema=False)
    def page(request: Request, next: str = START) -> Response:
        if authentication is None:
            return RedirectResponse(START, HTTPStatus.SEE_OTHER)
        return login_page(request, authentication, next)

    @router.post("/login", include_in_schema=False)
    def log_in(request: Request, name: str = Form(""), password: str = Form(""), next: str = Form(START)) -> Response:
        login = _required(authentication)
        try:
            token = login.log_in(name, password, _address(request))
        except UserError as error:
            return login_page(request, login, next, str(error), int(error.status))
        login.log_out(token_of(request.headers))
        answer = RedirectResponse(local_path(next), HTTPStatus.SEE_OTHER)
        answer.set_cookie(**session_cookie(token, login.session_seconds, request.scope))
        return answer

    @router.post("/logout", include_in_schema=False)
    def log_out(request: Request) -> Response:
        back_to = f"{str(request.base_url).rstrip('/')}/login"
        provider = authentication.log_out(token_of(request.headers), back_to) if authentication else None
        headers = {"Clear-Site-Data": '"cache"', "Cache-Control": "no-store"}
        # A form must not lead to another site (form-action), so a page of this server goes on to the provider.
        answer = (
            HTMLResponse(reload_page(provider), headers=headers)
            if provider
            else RedirectResponse("/login", HTTPStatus.SEE_OTHER, headers)
        )
        answer.delete_cookie(COOKIE, path=prefix_of(request.scope) or "/")
        return answer

    @router.get("/auth/", summary="Whether log-in is required")
    def auth() -> dict[str, Any]:
        return {"enabled": authentication is not None, "client_id": "", "realm": ""}

    @router.post("/auth/token", summary="Log in with name and password (OAuth 2.0, RFC 6749 section 4.3)")
    def token(request: Request, form: OAuth2PasswordRequestForm = Depends()) -> dict[str, str | None]:
        if authentication is None:
            return {"access_token": None, "token_type": None}
        return {
            "access_token": authentication.log_in(form.username, form.password, _address(request), ask_provider=True),
            "token_type": "bearer",
        }

    @router.get("/auth/token/valid", summary="Who is logged in")
    def valid(user: User = Depends(current_user)) -> dict[str, Any]:
        return user.model_dump()

    return router


def _required(authentication: Authentication | None) -> Authentication:
    if authentication is None:
        raise UserError("This server needs no log-in.", HTTPStatus.NOT_FOUND)
    return authentication


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
