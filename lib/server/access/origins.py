"""Same-origin check: whether a request comes from a page of this server, a program, or a page of another site.

Browsers send ``Sec-Fetch-Site`` to servers on this machine and to servers with TLS, ``Origin`` with unsafe methods,
and ``Referer`` from pages of this server, because its Referrer-Policy asks for it. Programs such as 3D Slicer send
none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def foreign_origin(
    method: str, headers: Mapping[str, str], *, expensive: bool, page: bool, allowed: Collection[str] = ()
) -> str | None:
    """Return a description of the other site whose page sent a request; None if the request is allowed.

    Args:
        method: HTTP method.
        headers: Headers of the request, names in lower case.
        expensive: Whether the request takes so much work that pages of other sites must not send it.
        page: Whether the route is a page that other sites may link to.
        allowed: Origins that the user allows (``MONAI_LABEL_CORS_ORIGINS``).
    """
    origin = headers.get("origin")
    if origin is not None and origin.rstrip("/") in allowed:
        return None
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in ("same-origin", "none") or (page and method in SAFE_METHODS and _is_navigation(headers)):
            return None
        return origin or "of another site"
    host = headers.get("host", "")
    if origin is not None:
        return None if _netloc(origin) == host.lower() else origin
    if (method not in SAFE_METHODS or expensive) and _is_browser(headers):
        referer = headers.get("referer", "")
        return None if _netloc(referer) == host.lower() else referer.partition("?")[0] or "without a name"
    return None


def _is_navigation(headers: Mapping[str, str]) -> bool:
    """Return whether a user follows a link, as opposed to a page that loads an image or frame."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _is_browser(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent the request; pages cannot change its User-Agent in cross-site requests."""
    return headers.get("user-agent", "").startswith("Mozilla/")


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc.lower() or None
    except ValueError:
        return None
