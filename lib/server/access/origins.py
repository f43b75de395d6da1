"""Whether a request comes from a page of this server, from a program, or from a page of somebody else.

Browsers send ``Sec-Fetch-Site`` to servers on this machine and to those with TLS, ``Origin`` with all that changes
something, and, because this server asks for it by its Referrer-Policy, ``Referer`` from its own pages. Programs such as
3D Slicer send none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def foreign_origin(
    method: str, headers: Mapping[str, str], *, costs: bool, page: bool, allowed: Collection[str] = ()
) -> str | None:
    """Return the page of somebody else that sent a request, in words; None if it may be answered.

    Args:
        method: Of HTTP.
        headers: Of the request, names in small letters.
        costs: Whether answering costs so much that nobody else's page may ask for it.
        page: Whether it is a page that links elsewhere may lead to.
        allowed: Origins that the user allows (``MONAI_LABEL_CORS_ORIGINS``).
    """
    origin = headers.get("origin")
    if origin is not None and origin.rstrip("/") in allowed:
        return None
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in ("same-origin", "none") or (page and method in SAFE_METHODS and _is_opened(headers)):
            return None
        return origin or "of another site"
    host = headers.get("host", "")
    if origin is not None:
        return None if _netloc(origin) == host.lower() else origin
    if (method not in SAFE_METHODS or costs) and _is_browser(headers):
        referer = headers.get("referer", "")
        return None if _netloc(referer) == host.lower() else referer.partition("?")[0] or "without a name"
    return None


def _is_opened(headers: Mapping[str, str]) -> bool:
    """Return whether a person follows a link, as against a page that loads a picture or frame."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _is_browser(headers: Mapping[str, str]) -> bool:
    """Every browser says so, and no page can make it say something else in a request across sites."""
    return headers.get("user-agent", "").startswith("Mozilla/")


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc.lower() or None
    except ValueError:
        return None
