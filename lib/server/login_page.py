"""The log-in page."""

from __future__ import annotations

import html
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse

from lib.identity.authentication import Authentication
from lib.server.access.headers import page_policy
from lib.server.access.path_prefix import prefix_of

START = "/status"
_PAGE = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
_FORM = (Path(__file__).parent / "login_form.html").read_text(encoding="utf-8")


def login_page(
    request: Request, authentication: Authentication, next: str, problem: str = "", status: int = HTTPStatus.OK
) -> HTMLResponse:
    """Return the log-in page: the form for local accounts, and the button of the identity provider.

    Args:
        request: Request that is answered.
        authentication: Log-in of the server.
        next: Page that is opened afterwards.
        problem: Why the last attempt failed.
        status: HTTP status.
    """
    openid, prefix = authentication.openid, prefix_of(request.scope)
    target = local_path(next)
    has_form = openid is None or bool(authentication.accounts.all())
    form = _filled(_FORM, {"{next}": target, "{root}": prefix}) if has_form else ""
    button = (
        f'<a class="button" href="{prefix}/login/oidc?next={quote(target, safe="")}">'
        f"Log in with {html.escape(openid.client.title)}</a>"
        if openid
        else ""
    )
    text = _filled(_PAGE, {"{problem}": problem}).replace("{form}", form).replace("{button}", button)
    headers = {"Content-Security-Policy": page_policy(text), "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers=headers)


def local_path(path: str) -> str:
    """Return ``path`` if it is one of this server, else that of the status page: no redirect leads elsewhere."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local else START


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, html.escape(value, quote=True))
    return text
