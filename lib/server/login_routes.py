"""Log-in and log-out: ``/login`` for people in a browser, ``/auth`` for 3D Slicer and programs."""

from __future__ import annotations

import html
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.endpoints.user.auth import User

from lib.errors import UserError
from lib.identity.authentication import Authentication
from lib.server.access.credentials import COOKIE, session_cookie, token_of
from lib.server.access.headers import page_policy
from lib.server.current_user import current_user

_PAGE = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
_START = "/status"


def login_router(authentication: Authentication | None) -> APIRouter:
    """Return the log-in routes.

    Args:
        authentication: Log-in of the server; None while it is off.
    """
    router = APIRouter(tags=["Log-in"])

    @router.get("/login", include_in_schema=False)
    def page(request: Request, next: str = _START) -> Response:
        if authentication is None:
            return RedirectResponse(_START, HTTPStatus.SEE_OTHER)
        return _page(next)

    @router.post("/login", include_in_schema=False)
    def log_in(request: Request, name: str = Form(""), password: str = Form(""), next: str = Form(_START)) -> Response:
        login = _required(authentication)
        try:
            token = login.log_in(name, password, _address(request))
        except UserError as error:
            return _page(next, str(error), int(error.status))
        login.log_out(token_of(request.headers))
        answer = RedirectResponse(local_path(next), HTTPStatus.SEE_OTHER)
        answer.set_cookie(**session_cookie(token, login.session_seconds, request.scope))
        return answer

    @router.post("/logout", include_in_schema=False)
    def log_out(request: Request) -> Response:
        if authentication is not None:
            authentication.log_out(token_of(request.headers))
        answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER, {"Clear-Site-Data": '"cache"'})
        answer.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/")
        return answer

    @router.get("/auth/", summary="Whether log-in is required")
    def auth() -> dict[str, Any]:
        return {"enabled": authentication is not None, "client_id": "", "realm": ""}

    @router.post("/auth/token", summary="Log in with name and password (OAuth 2.0, RFC 6749 section 4.3)")
    def token(request: Request, form: OAuth2PasswordRequestForm = Depends()) -> dict[str, str | None]:
        if authentication is None:
            return {"access_token": None, "token_type": None}
        return {
            "access_token": authentication.log_in(form.username, form.password, _address(request)),
            "token_type": "bearer",
        }

    @router.get("/auth/token/valid", summary="Who is logged in")
    def valid(user: User = Depends(current_user)) -> dict[str, Any]:
        return user.model_dump()

    return router


def local_path(path: str) -> str:
    """Return ``path`` if it is one of this server, else that of the status page: no redirect leads elsewhere."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local else _START


def _page(path: str, problem: str = "", status: int = HTTPStatus.OK) -> HTMLResponse:
    values = {"{next}": local_path(path), "{problem}": problem}
    text = _PAGE
    for name, value in values.items():
        text = text.replace(name, html.escape(value, quote=True))
    headers = {"Content-Security-Policy": page_policy(text), "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers=headers)


def _required(authentication: Authentication | None) -> Authentication:
    if authentication is None:
        raise UserError("This server needs no log-in.", HTTPStatus.NOT_FOUND)
    return authentication


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
