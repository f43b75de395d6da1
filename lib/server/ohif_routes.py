"""``/ohif`` routes: the viewer's files, its configuration, and this app's panel."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from pathlib import Path

import monailabel.endpoints
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from monailabel.utils.others.generic import get_mime_type

from lib.errors import UserError
from lib.server.access.headers import page_policy

_BUNDLE = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"
_INDEX = _BUNDLE / "index.html"
_CONFIG = Path(__file__).parents[1] / "viewer" / "app-config.js"
_PANEL = Path(__file__).parents[1] / "viewer" / "panel"
_HASHED_NAME = re.compile(r"[0-9a-f]{16,}")
# The bundle loads fonts from public hosts, and contains pages and workers for third-party services.
_EXTERNAL = re.compile(r"<link\b[^>]*\bhttps?://[^>]*>|@import\s+url\([\"']?https?://[^)]*\)[^;]*;")
_UNUSED = ("_headers", "_redirects", "google.js", "serve.json", "silent-refresh.html", "sw.js")
# OHIF's pixel decoders and its SEG loader are WebAssembly with bindings created by `new Function`.
_SCRIPT_SOURCES = ("'wasm-unsafe-eval'", "'unsafe-eval'")


def ohif_router() -> APIRouter:
    """Return the routes of the viewer. Paths without a file get index.html, which routes them in the browser."""
    router = APIRouter(
        prefix="/ohif",
        include_in_schema=False,
    )

    # A worker uses the policy of its own file, so every file gets that of the page.
    policy = {"Content-Security-Policy": page_policy(_without_external(_INDEX), scripts=_SCRIPT_SOURCES)}

    @router.get("/app-config.js")
    def config() -> FileResponse:
        return FileResponse(_CONFIG, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    @router.get("/lunglabel/{name}")
    def panel(name: str) -> FileResponse:
        file = _PANEL / name
        if file not in _PANEL.iterdir():
            raise UserError(f"The panel has no file {name!r}.", HTTPStatus.NOT_FOUND)
        return FileResponse(file, media_type=get_mime_type(name), headers={"Cache-Control": "no-cache"})

    @router.get("/{path:path}")
    def asset(path: str) -> Response:
        if path in _UNUSED:
            raise UserError(f"This app has no /ohif/{path}.", HTTPStatus.NOT_FOUND)
        file = (_BUNDLE / path).resolve()
        if not file.is_file() or not file.is_relative_to(_BUNDLE.resolve()):
            file = _INDEX
        hashed = _HASHED_NAME.search(file.name)
        cache = "public, max-age=31536000, immutable" if hashed else "no-cache"
        headers = {"Cache-Control": cache, **policy}
        if file.suffix in (".css", ".html"):
            return Response(_without_external(file), media_type=get_mime_type(str(file)), headers=headers)
        return FileResponse(file, media_type=get_mime_type(str(file)), headers=headers)

    return router


@functools.lru_cache(maxsize=64)
def _without_external(file: Path) -> str:
    """Return a page or style sheet without the references to other hosts."""
    return _EXTERNAL.sub("", file.read_text(encoding="utf-8"))
