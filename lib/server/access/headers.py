"""Security headers of every response, and content security policies of the pages."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)

# Responses other than pages may load and run nothing, even if a browser renders them as a page.
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

SECURITY_HEADERS = {
    "Content-Security-Policy": NOTHING,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # origins.py relies on it
}


def page_policy(html: str, *, scripts: Iterable[str] = ()) -> str:
    """Return the policy of a page, which allows no other hosts and no inline scripts but those of ``html``.

    Args:
        html: The page.
        scripts: Additional sources of scripts, such as ``'wasm-unsafe-eval'``.
    """
    inline = (hashlib.sha256(code.encode()).digest() for code in _INLINE_SCRIPT.findall(html))
    hashes = (f"'sha256-{base64.b64encode(digest).decode()}'" for digest in inline)
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self'", *scripts, *hashes)),
            "style-src 'self' 'unsafe-inline'",  # OHIF sets styles of elements
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def with_security_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return ``headers`` with the missing security headers; those that a route has set are kept."""
    headers = list(headers)
    present = {name.lower() for name, _ in headers}
    missing = ((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
    return headers + [(name, value) for name, value in missing if name not in present]
