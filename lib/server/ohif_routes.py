"""``/ohif``: the viewer's files, its configuration, and the panel that this app adds to it."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from pathlib import Path

import monailabel.endpoints
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.utils.others.generic import get_mime_type

from lib.errors import UserError
from lib.server.access.headers import page_policy

_BUNDLE = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"
_INDEX = _BUNDLE / "index.html"
_CONFIG = Path(__file__).parents[1] / "viewer" / "app-config.js"
_PANEL = Path(__file__).parents[1] / "viewer" / "panel"
_HASHED_NAME = re.compile(r"[0-9a-f]{16,}")
# The bundle takes fonts from public hosts, and has pages and workers for services of others.
_ELSEWHERE = re.compile(r"<link\b[^>]*\bhttps?://[^>]*>|@import\s+url\([\"']?https?://[^)]*\)[^;]*;")
_UNUSED = ("_headers", "_redirects", "google.js", "serve.json", "silent-refresh.html", "sw.js")
# OHIF's decoders of pixels are WebAssembly with bindings made by `new Function`; so is what loads a SEG.
_EVALUATED = ("'wasm-unsafe-eval'", "'unsafe-eval'")


def ohif_router() -> APIRouter:
    """Return the routes. A path that is no file is a page of the viewer, which its index.html routes by itself."""
    router = APIRouter(
        prefix="/ohif",
        include_in_schema=False,
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

    # Workers take the policy of their own file, so every file has that of the page.
    policy = {"Content-Security-Policy": page_policy(_without_elsewhere(_INDEX), scripts=_EVALUATED)}

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
        lasting = _HASHED_NAME.search(file.name)
        cache = "public, max-age=31536000, immutable" if lasting else "no-cache"
        headers = {"Cache-Control": cache, **policy}
        if file.suffix in (".css", ".html"):
            return Response(_without_elsewhere(file), media_type=get_mime_type(str(file)), headers=headers)
        return FileResponse(file, media_type=get_mime_type(str(file)), headers=headers)

    return router


@functools.lru_cache(maxsize=64)
def _without_elsewhere(file: Path) -> str:
    """Return a page or style sheet without what it would load from other hosts."""
    return _ELSEWHERE.sub("", file.read_text(encoding="utf-8"))
