"""``/ohif``: the viewer's files, its configuration, and the panel that this app adds to it."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import monailabel.endpoints
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.utils.others.generic import get_mime_type

from lib.errors import UserError

_BUNDLE = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"
_CONFIG = Path(__file__).parent / "app-config.js"
_PANEL = Path(__file__).parent / "panel"
_HASHED_NAME = re.compile(r"[0-9a-f]{16,}")


def ohif_router() -> APIRouter:
    """The route. A path that is no file is a page of the viewer, which its index.html routes by itself."""
    router = APIRouter(
        prefix="/ohif",
        include_in_schema=False,
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

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
    def asset(path: str) -> FileResponse:
        file = (_BUNDLE / path).resolve()
        if not file.is_file() or not file.is_relative_to(_BUNDLE.resolve()):
            file = _BUNDLE / "index.html"
        lasting = _HASHED_NAME.search(file.name)
        cache = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return FileResponse(file, media_type=get_mime_type(str(file)), headers={"Cache-Control": cache})

    return router
