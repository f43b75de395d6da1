"""``/viewer/draft``: what a user has painted in OHIF and not submitted, kept until it is submitted.

The ``user`` of a response is the owner of the draft. The panel keeps what it could not send in the browser under this
name, so that it is not offered in another reading of a study either.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, File, Request, UploadFile
from monailabel.endpoints.user.auth import User

from lib.reading.views import no_image
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user
from lib.server.study_views import current_view


def draft_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of the drafts of ``app``. A draft belongs to the user of the request, and to a page.

    In a reader study, it belongs to the reading that is open.
    """
    router = APIRouter(prefix="/viewer", tags=["Viewer"])

    def owner_of(image: str, request: Request, user: User = Depends(current_user)) -> str:
        app.datastore().series(image)
        owner = current_view(request, app.datastore().labels).draft_owner(user.username, image)
        if owner is None:
            raise no_image(image)
        return owner

    @router.get("/draft", summary="The latest draft of an image that the user made in another page")
    def latest(image: str, session: str, owner: str = Depends(owner_of)) -> dict[str, Any]:
        draft, problems = app.datastore().drafts.latest(owner, image, session)
        return {"user": owner, "draft": draft, "problems": problems}

    @router.put("/draft", summary="Keep a draft instead of the former one of a page: a JSON object in gzip")
    def keep(image: str, session: str, draft: UploadFile = File(...), owner: str = Depends(owner_of)) -> dict[str, str]:
        app.datastore().drafts.keep(owner, image, session, draft.file.read())
        return {"user": owner}

    @router.delete("/draft", summary="Remove the draft of a page")
    def drop(image: str, session: str, owner: str = Depends(owner_of)) -> dict[str, str]:
        app.datastore().drafts.drop(owner, image, session)
        return {"user": owner}

    return router
