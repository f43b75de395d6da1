"""``/viewer/draft``: what a user has painted in OHIF and not submitted, kept until it is submitted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, File, UploadFile
from monailabel.endpoints.user.auth import User

from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user


def draft_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the drafts of ``app``. A draft belongs to the user of the request, and to a page."""
    router = APIRouter(prefix="/viewer", tags=["Viewer"])

    @router.get("/draft", summary="The latest draft of an image that the user made in another page")
    def latest(image: str, session: str, user: User = Depends(current_user)) -> dict[str, Any]:
        app.datastore().series(image)
        draft, problems = app.datastore().drafts.latest(user.username, image, session)
        return {"user": user.username, "draft": draft, "problems": problems}

    @router.put("/draft", summary="Keep a draft instead of the former one of a page: a JSON object in gzip")
    def keep(
        image: str, session: str, draft: UploadFile = File(...), user: User = Depends(current_user)
    ) -> dict[str, str]:
        app.datastore().series(image)
        app.datastore().drafts.keep(user.username, image, session, draft.file.read())
        return {"user": user.username}

    @router.delete("/draft", summary="Remove the draft of a page")
    def drop(image: str, session: str, user: User = Depends(current_user)) -> dict[str, str]:
        app.datastore().series(image)
        app.datastore().drafts.drop(user.username, image, session)
        return {"user": user.username}

    return router
