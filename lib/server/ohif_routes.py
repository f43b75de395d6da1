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
# The paths that the bundle was built for: in its page, and webpack's public path in its scripts.
_OWN_PATH = re.compile(r"([\"'])/ohif/")
_PUBLIC_PATH = re.compile(rb"(__webpack_require__\.p = [\"'])/ohif/")
_UNUSED = ("_headers", "_redirects", "google.js", "serve.json", "silent-refresh.html", "sw.js")
# OHIF's pixel decoders and its SEG loader are WebAssembly with bindings created by `new Function`.
_SCRIPT_SOURCES = ("'wasm-unsafe-eval'", "'unsafe-eval'")


def ohif_router(prefix: str = "") -> APIRouter:
    """Return the routes of the viewer. Paths without a file get index.html, which routes them in the browser.

    Args:
        prefix: Path prefix of a reverse proxy before all paths of this server.
    """
    router = APIRouter(
        prefix="/ohif",
        include_in_schema=False,
    )

    # A worker uses the policy of its own file, so every file gets that of the page.
    policy = {"Content-Security-Policy": page_policy(_page(_INDEX, prefix), scripts=_SCRIPT_SOURCES)}

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
        file = _file_of(path)
        hashed = _HASHED_NAME.search(file.name)
        cache = "public, max-age=31536000, immutable" if hashed else "no-cache"
        headers = {"Cache-Control": cache, **policy}
        if file.suffix in (".css", ".html"):
            return Response(_page(file, prefix), media_type=get_mime_type(str(file)), headers=headers)
        if prefix and file.suffix == ".js" and (moved := _moved_script(file, prefix)):
            return Response(moved, media_type=get_mime_type(str(file)), headers=headers)
        return FileResponse(file, media_type=get_mime_type(str(file)), headers=headers)

    return router


@functools.lru_cache(maxsize=64)
def _page(file: Path, prefix: str) -> str:
    """Return a page or style sheet without the references to other hosts, and with the prefix before its own paths."""
    text = _EXTERNAL.sub("", file.read_text(encoding="utf-8"))
    return _OWN_PATH.sub(rf"\1{prefix}/ohif/", text)


@functools.lru_cache(maxsize=256)
def _moved_script(file: Path, prefix: str) -> bytes | None:
    """Return a script that loads others of the bundle, with the prefix before their path; None for other scripts."""
    moved, count = _PUBLIC_PATH.subn(rb"\1" + prefix.encode() + rb"/ohif/", file.read_bytes())
    return moved if count else None


def _file_of(path: str) -> Path:
    """Return the file of the viewer at a path; index.html if there is none, or the path is impossible."""
    try:
        file = (_BUNDLE / path).resolve()
        return file if file.is_file() and file.is_relative_to(_BUNDLE.resolve()) else _INDEX
    except (OSError, ValueError):  # too long, or with a null character
        return _INDEX
